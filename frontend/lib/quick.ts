/**
 * A task from one line: “Pay rent tomorrow 9am every month #money !high”.
 *
 * What might be something else stays in the title: better too little than too much. Of two dates, or two times, the
 * last counts. Whatever does not say its day is the first from now on: “at 9” in the evening is tomorrow's, “Friday” on a
 * Friday is today, “5 May” in June is next year's. A time is by the 24-hour clock unless it says am, pm or tonight.
 */
import { Chrono, configuration, type ParsedResult, type Parser } from "chrono-node/en";

import { DAYS, firstDay, ruleInWords, WEEKDAYS } from "./rules";

export interface Part {
  start: number;
  end: number;
  text: string;
  kind: "due" | "rule" | "tag" | "priority";
  label: string;
}

export interface Quick {
  title: string;
  due_date?: string;
  time_zone?: string;
  recurrence_rule?: string;
  tags: string[];
  priority?: "high" | "medium" | "low";
  parts: Part[];
}

interface Given {
  now: Date;
  timeZone: string;
  ignored?: ReadonlySet<string>; // texts of parts that are to stay text
  locale?: string; // of the labels
}

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

// Wall-clock times are numbers too: milliseconds, as if the clock were UTC's.

function offsetAt(instant: number, timeZone: string): string {
  const parts = new Intl.DateTimeFormat("en", { timeZone, timeZoneName: "longOffset" }).formatToParts(instant);
  return parts.find(({ type }) => type === "timeZoneName")?.value.slice(3) || "+00:00";
}

function shiftAt(instant: number, timeZone: string): number {
  const [hours = 0, minutes = 0] = offsetAt(instant, timeZone).slice(1).split(":").map(Number);
  return (offsetAt(instant, timeZone).startsWith("-") ? -1 : 1) * (hours * 60 + minutes) * MINUTE;
}

/** The instant of a wall-clock time, as RFC 5545, section 3.3.5, has it: the first of two, and an hour on for none. */
function instantOf(wall: number, timeZone: string): number {
  const shifts = [wall - DAY, wall + DAY].map((near) => shiftAt(near, timeZone)) as [number, number];
  return wall - (shifts.find((shift) => shiftAt(wall - shift, timeZone) === shift) ?? shifts[0]);
}

function written(instant: number, timeZone: string): string {
  const wall = new Date(instant + shiftAt(instant, timeZone)).toISOString();
  return `${wall.slice(0, 17)}00${offsetAt(instant, timeZone)}`;
}

// Rules

const DAY_NAME = "(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?s?";
const AND = "(?:\\s*[,/&]\\s*|,?\\s+and\\s+)";
const DAY_NAMES = `${DAY_NAME}(?:${AND}${DAY_NAME})*`;
const PLACE = "(?:first|1st|second|2nd|third|3rd|fourth|4th|last)";
const MONTH = "(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]*";
const DATES = `\\d{1,2}(?:st|nd|rd|th)(?:${AND}(?:the\\s+)?\\d{1,2}(?:st|nd|rd|th))*(?!\\s+(?:of\\s+)?${MONTH}\\b)`;
const IN_MONTH = `(?:${PLACE}\\s+(?:${DAY_NAME}|day)|${DATES})`;
const NUMBERS = ["", "", "two", "three", "four", "five", "six"];
const COUNT = `(?:(?<count>[1-9]\\d{0,2}|other|${NUMBERS.slice(2).join("|")})\\s+)?`;
const UNIT = "(?:(?:week|work)days?|weekends?|days?|weeks?|fortnights?|months?|quarters?|years?)";
const ON = `(?:\\s+on\\s+(?:the\\s+)?(?<on>${IN_MONTH}|${DAY_NAMES}))`;
const OF_MONTH = "\\s+of\\s+(?:the|every|each)\\s+month";
const WORDS = "(?<unit>daily|weekly|fortnightly|monthly|quarterly|yearly|annually)";
const RULES = [
  `(?:every|each)\\s+${COUNT}(?<unit>${UNIT}|${DAY_NAMES})${ON}?`,
  `(?<unit>weekly|monthly)${ON}`,
  `${WORDS}(?=\\s+(?:from|starting)\\s)`,
  `(?:on\\s+)?(?:the\\s+)?(?<on>${IN_MONTH})\\s+of\\s+(?:every|each)\\s+(?<unit>month)`,
  `every\\s+(?<on>${IN_MONTH})${OF_MONTH}`,
  `every\\s+(?<on>(?:first|last)\\s+${DAY_NAME}|${DATES})`,
  "(?<daily>every|each)(?=\\s+(?:morning|afternoon|evening|night)\\b)",
  `(?<yearly>every)(?=\\s+(?:the\\s+)?(?:${MONTH}\\s+\\d|\\d{1,2}(?:st|nd|rd|th)?\\s+(?:of\\s+)?${MONTH}\\b))`,
];

const countOf = (word: string) => Number(word) || NUMBERS.indexOf(word.toLowerCase());
const codes = (names: string) => {
  const named = [...names.matchAll(new RegExp(DAY_NAME, "gi"))].map(([name]) => name.slice(0, 2).toUpperCase());
  return [...DAYS.slice(1), "SU"].filter((day) => named.includes(day)).join(",");
};

/** The rule of the words that were found, if there is one. */
function ruleOf(words: Record<string, string | undefined>): string | undefined {
  const { daily, yearly, count = "1", on = "" } = words;
  const unit = words.unit ?? (daily ? "day" : yearly ? "year" : "month");
  const interval = /other/i.test(count) ? 2 : countOf(count);
  const every = (freq: string, times = 1) =>
    `FREQ=${freq}${interval * times > 1 ? `;INTERVAL=${interval * times}` : ""}`;
  const days = on.match(/\d+(?=st|nd|rd|th)/gi)?.map(Number) ?? [];
  const [, first = "", name] = /^(\w+)\s+([a-z]+)$/i.exec(on) ?? []; // “last Friday”
  if (/^month/i.test(unit) && name) {
    const places = ["first", "second", "third", "fourth"];
    const place = /last/i.test(first) ? -1 : days[0] || places.indexOf(first.toLowerCase()) + 1;
    return `${every("MONTHLY")};${/^day$/i.test(name) ? `BYMONTHDAY=${place}` : `BYDAY=${place}${codes(name)}`}`;
  }
  if (/^month/i.test(unit) && on) {
    if (!days.length || days.some((day) => day < 1 || day > 31)) return undefined;
    return `${every("MONTHLY")};${days.some((day) => day > 28) ? "SKIP=BACKWARD;" : ""}BYMONTHDAY=${days}`;
  }
  if (on)
    return /^week(?:s|ly)?$/i.test(unit) && !name && !days.length ? `${every("WEEKLY")};BYDAY=${codes(on)}` : undefined;
  if (/^(?:week|work)days?$/i.test(unit)) return `${every("WEEKLY")};BYDAY=${WEEKDAYS}`;
  if (/^weekend/i.test(unit)) return `${every("WEEKLY")};BYDAY=SA`;
  if (/^(?:days?|daily)$/i.test(unit)) return every("DAILY");
  if (/^week/i.test(unit)) return every("WEEKLY");
  if (/^fortnight/i.test(unit)) return every("WEEKLY", 2);
  if (/^month/i.test(unit)) return every("MONTHLY");
  if (/^quarter/i.test(unit)) return every("MONTHLY", 3);
  if (/^(?:year|annual)/i.test(unit)) return every("YEARLY");
  return `${every("WEEKLY")};BYDAY=${codes(unit)}`;
}

// Dates and times

// Chrono knows no 29 February when the next one is years away.
const leapDay: Parser = {
  pattern: () => /\b(?:on\s+)?(?:29(?:th)?\s+(?:of\s+)?feb(?:ruary)?|feb(?:ruary)?\s+29(?:th)?)\b(?!,?\s*\d{4})/i,
  extract: ({ refDate }) => {
    let year = refDate.getFullYear();
    while (new Date(year, 1, 29).getMonth() !== 1 || new Date(year, 1, 30) < refDate) year++;
    return { year, month: 2, day: 29 };
  },
};
// All but its times, which it finds in any two digits.
const english = configuration.createCasualConfiguration();
const reads = (parser: (typeof english.parsers)[number], text: string) =>
  new Chrono({ parsers: [parser], refiners: [] }).parse(text).length > 0;
const chrono = new Chrono({
  ...english,
  parsers: [leapDay, ...english.parsers.filter((one) => !reads(one, "at 9") && !reads(one, "noon"))],
});

const EXACT_TIME = /(?:\bat\s+)?\b(?<hour>1[0-2]|0?[1-9])(?:[:.](?<minute>[0-5]\d))?\s?(?<half>[ap])(?:m\b|\.m\.)/gi;
const LIKELY_TIME =
  /\b(?:at\s+(?<hour>[01]?\d|2[0-3])(?::(?<minute>[0-5]\d))?(?:\s?o['’]?clock)?|(?<h>[01]?\d|2[0-3]):(?<m>[0-5]\d))(?!\d)/gi;
const TIME_OF_DAY = /\b((?:this|in\s+the|at)\s+)?(morning|noon|midday|afternoon|evening|night)\b/gi;
const HOURS: Record<string, number> = { morning: 9, noon: 12, midday: 12, afternoon: 15, evening: 19, night: 21 };
const IN_MINUTES = /^(?:in|within)\s+(half\s+an|an?|one|\d+(?:\.\d+)?|[a-z]+)\s*(h|hrs?|hours?|m|mins?|minutes?)$/i;
// What belongs to a due date before its day, and what makes a day something else than a due date.
const LEAD = /(?<![\p{L}\p{N}])(?:(?:due|by|on|starting|(?<=\uE000\s*)from)\s+)+(?:the\s+)?$/iu;
const OTHER_USE =
  "until|till|to|since|after|before|from|than|for|about|of|a|an|the|my|our|your|his|her|their|good|black|last|past|per|and|or|with|between|except|every|each";
const NOT_AFTER = new RegExp(`(?:[\\p{L}\\p{N}_.:/#!'’–-]|\\d(?:[ap]m)?\\s*[–-]\\s*|\\b(?:${OTHER_USE})\\s+)$`, "iu");
const NOT_BEFORE = new RegExp(`^(?:[\\p{L}\\p{N}_:/'’–-]|\\.\\d|\\s*[–-]\\s*\\d|${AND}${DAY_NAME}\\b)`, "iu");
const AT_END = /^[\s,;.!?)]*(?:[\uE000\uE001]|at\s+\d|\d{1,2}:\d\d|$)/i;
const AFTER_DUE = /\uE000[\s,]*$/;

interface Found {
  start: number;
  end: number;
}

/** What chrono found, as a day, or as minutes from now, if it is a due date. */
function dueOf({ text, start, end }: ParsedResult, today: number, isAtEnd: boolean) {
  const [year = 0, month = 0, date = 0] = (["year", "month", "day"] as const).map((unit) => start.get(unit) ?? 0);
  const now = new Date(today);
  const found = Date.UTC(year, month - 1, date);
  const next = /^next\s+(week|month|year)$/i.exec(text)?.[1]?.toLowerCase();
  if (next === "week") return { day: today + ((8 - now.getUTCDay()) % 7 || 7) * DAY };
  if (next)
    return { day: next === "year" ? Date.UTC(year, 0, 1) : Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1) };
  if (end || /^(?:last|past|weekend|weekday)\b/i.test(text)) return undefined;
  if (start.isCertain("hour")) {
    const [, number = "", unit] = IN_MINUTES.exec(text) ?? [];
    const count = /half/i.test(number) ? 0.5 : /^(?:an?|one)$/i.test(number) ? 1 : countOf(number);
    const minutes = count * (/^h/i.test(unit ?? "") ? 60 : 1);
    return unit && minutes > 0 && minutes < 1e6 ? { minutes } : undefined;
  }
  if (start.tags().has("result/relativeDate")) {
    if (!/^(?:in|within|the\s+day\s+after)\b/i.test(text)) return undefined;
    const isOver = !start.isCertain("day") && date < now.getUTCDate(); // a month from 31 January it has 3 March
    return { day: isOver ? Date.UTC(year, month - 1, 0) : found };
  }
  if (start.isCertain("weekday") && !start.isCertain("day")) {
    if (/^\w{3,5}\.?$/.test(text) && !isAtEnd) return undefined; // “sat nav”
    if (!/^\w+\.?$/.test(text)) return { day: found };
    return { day: today + (((start.get("weekday") ?? 0) - now.getUTCDay() + 7) % 7) * DAY, isNamed: true };
  }
  // “3/4” is in March or in April, “24/7” is neither, and “May” is a month.
  const numbers = /^(\d{1,2})([./-])(\d{1,2})(\2\d+)?$/.exec(text);
  if (numbers && (!numbers[4] || (Number(numbers[1]) < 13 && Number(numbers[3]) < 13))) return undefined;
  if (!start.isCertain("day")) return undefined;
  return { day: found < today && !start.isCertain("year") ? Date.UTC(year + 1, month - 1, date) : found };
}

/** Read one line as a task. */
export function parse(text: string, { now, timeZone, ignored = new Set(), locale }: Given): Quick {
  const wall = new Date(Math.floor(now.getTime() / MINUTE) * MINUTE + shiftAt(now.getTime(), timeZone));
  const today = Math.floor(wall.getTime() / DAY) * DAY;
  const parts: Part[] = [];
  const result: Quick = { title: "", tags: [], parts };

  // What is left to read. U+E000 is where a due date or rule was, U+E001 a tag or priority, x what is to stay text.
  let rest = text;
  const blank = ({ start, end }: Found, filler: string) => {
    rest = rest.slice(0, start) + filler.repeat(end - start) + rest.slice(end);
  };
  for (const one of ignored)
    for (let start = text.indexOf(one); one && start >= 0; start = text.indexOf(one, start + 1)) {
      const end = start + one.length;
      const isWhole = !/[\p{L}\p{N}]$/u.test(text.slice(0, start)) && !/^[\p{L}\p{N}]/u.test(text.slice(end));
      if (isWhole) blank({ start, end }, "x");
    }
  const take = (kind: Part["kind"], label: string, { start, end }: Found) => {
    parts.push({ start, end, text: text.slice(start, end), kind, label });
    blank({ start, end }, kind === "due" || kind === "rule" ? "\uE000" : "\uE001");
  };

  const all = (pattern: RegExp) =>
    [...rest.matchAll(pattern)].map((match) => {
      const words: Record<string, string | undefined> = match.groups ?? {};
      return { said: match[1] ?? "", words, start: match.index, end: match.index + match[0].length };
    });
  const isAtEnd = ({ end }: Found) => AT_END.test(rest.slice(end));
  const isAfterDue = ({ start }: Found) => AFTER_DUE.test(rest.slice(0, start));
  const isFree = ({ start, end }: Found) =>
    !NOT_AFTER.test(rest.slice(0, start).replace(LEAD, "")) && !NOT_BEFORE.test(rest.slice(end));
  const takeDue = ({ start, end }: Found, label: "day" | "time" | "both") =>
    take("due", label, { start: start - (LEAD.exec(rest.slice(0, start))?.[0].length ?? 0), end });

  for (const found of all(/(?<=^|\s)#([\p{L}\p{N}\p{M}_-]+)(?=$|\s|[,;.!?)])/gu)) {
    const name = found.said.normalize("NFC");
    const isKnown = result.tags.some((tag) => tag.toLowerCase() === name.toLowerCase());
    if (!/\p{L}/u.test(name) || [...name].length > 50 || (!isKnown && result.tags.length === 20)) continue;
    if (!isKnown) result.tags.push(name);
    take("tag", `#${name}`, found);
  }
  for (const found of all(/(?<=^|\s)!(high|medium|low|[123])(?=$|\s|[,;.?)])/gi).slice(-1)) {
    const word = found.said.toLowerCase() as "high";
    result.priority = (["high", "medium", "low"] as const)[Number(word) - 1] ?? word;
    take("priority", result.priority, found);
  }

  const takeRule = (pattern: string, isLikely: (found: Found) => boolean) => {
    for (const found of all(new RegExp(`\\b(?:${pattern})\\b`, "gi"))) {
      const rule = ruleOf(found.words);
      if (!rule || result.recurrence_rule || !isFree(found) || !isLikely(found)) continue;
      result.recurrence_rule = rule;
      take("rule", ruleInWords(rule), found);
    }
  };
  for (const pattern of RULES) takeRule(pattern, () => true);

  let time: number | undefined;
  const takeTime = (found: ReturnType<typeof all>[number] | undefined) => {
    if (!found || time !== undefined) return;
    const { hour, minute, h = hour, m = minute ?? 0, half } = found.words;
    time = (half ? (Number(h) % 12) + (/p/i.test(half) ? 12 : 0) : Number(h)) * 60 + Number(m);
    takeDue(found, "time");
  };
  takeTime(all(EXACT_TIME).findLast(isFree));

  // Chrono reckons in the zone of the machine: at noon, which every day has there.
  const reference = new Date(wall.getUTCFullYear(), wall.getUTCMonth(), wall.getUTCDate(), 12);
  const dates = chrono.parse(rest.replace(/\btues\b/gi, "tue."), reference).flatMap((one) => {
    const hasZone = one.start.isCertain("timezoneOffset") && !one.start.isCertain("hour"); // “tomorrow ART class”
    const said = hasZone ? one.text.replace(/\s*\S+$/, "") : one.text;
    const start = one.index + said.search(/[^\s,(（]/);
    const found = { start, end: start + said.trim().replace(/^[,(（]\s*|\s*[,)）]$/g, "").length };
    const due = dueOf({ ...one, text: rest.slice(found.start, found.end) }, today, isAtEnd(found));
    const isAhead = due && (due.day === undefined || (due.day >= today && due.day < Date.UTC(9000, 0)));
    return isAhead && isFree(found) ? { ...found, ...due } : [];
  });
  const date = dates.at(-1);
  let day = date?.day;
  let period = "";
  if (date) {
    if (/tonight$/i.test(rest.slice(date.start, date.end))) period = "night";
    takeDue(date, date.minutes === undefined ? "day" : "both");
  } else {
    // “On the 15th”
    const found = all(/\bthe\s+(\d{1,2})(?:st|nd|rd|th)\b/gi).findLast(
      (one) => /\b(?:on|by)\s+$/i.test(rest.slice(0, one.start)) && isFree(one) && isAtEnd(one),
    );
    if (found && Number(found.said) > 0 && Number(found.said) < 32) {
      day = firstDay(`FREQ=MONTHLY;BYMONTHDAY=${Number(found.said)}`, today);
      takeDue(found, "day");
    }
  }
  takeTime(all(LIKELY_TIME).findLast((found) => isFree(found) && (isAtEnd(found) || isAfterDue(found))));
  const ofDay = all(TIME_OF_DAY).findLast(
    (found) => isAfterDue(found) || (isFree(found) && isAtEnd(found) && /^(?:this|at)/i.test(found.said)),
  );
  if (ofDay) {
    const said = rest.slice(ofDay.start, ofDay.end).toLowerCase();
    period = /\w+$/.exec(said)?.[0] ?? "";
    if (said.startsWith("this")) day ??= today;
    takeDue(ofDay, "time");
  }
  if (period) {
    if (time === undefined) time = (HOURS[period] ?? 0) * 60;
    else if (period === "night" && day !== undefined && time % 720 < 5 * 60) {
      time %= 720; // “tonight at 1”
      day += DAY;
    } else if (/^(?:after|even|night)/.test(period) && time < 720) time += 720;
  }
  takeRule(WORDS, isAtEnd);

  // When it is due
  const isOver = (one: number) => time !== undefined && instantOf(one + time * MINUTE, timeZone) <= now.getTime();
  const { recurrence_rule: rule } = result;
  result.parts = joined(text, parts);
  let instant = date?.minutes === undefined ? undefined : now.getTime() + date.minutes * MINUTE;
  if (instant === undefined) {
    if (date?.isNamed && day === today && isOver(today)) day = today + 7 * DAY;
    if (day === undefined && (rule || time !== undefined)) day = isOver(today) ? today + DAY : today;
    if (day !== undefined && rule) day = firstDay(rule, day);
    if (day !== undefined && time !== undefined) instant = instantOf(day + time * MINUTE, timeZone);
  }
  const due = instant === undefined ? day : instant + shiftAt(instant, timeZone); // on the user's clock
  if (due !== undefined) {
    result.due_date = instant === undefined ? new Date(due).toISOString().slice(0, 10) : written(instant, timeZone);
    result.time_zone = timeZone;
    // From the 31st, or from 29 February, a rule that names no day would leave out what has no such day.
    const isLate = /^FREQ=MONTHLY(;INTERVAL=\d+)?$/.test(rule ?? "")
      ? result.due_date.slice(8, 10) > "28"
      : rule?.startsWith("FREQ=YEARLY") && result.due_date.slice(5, 10) === "02-29";
    if (isLate) result.recurrence_rule = `${rule};SKIP=BACKWARD`;
    label(result.parts, due, today, instant !== undefined, locale);
  }
  result.title = titleOf(text, result.parts);
  return result;
}

/** The parts in their order, with what was found of the due date side by side as one. */
function joined(text: string, parts: Part[]): Part[] {
  const all: Part[] = [];
  for (const part of parts.sort((one, other) => one.start - other.start)) {
    const last = all.at(-1);
    const isOne = part.kind === "due" && last?.kind === "due" && /^[\s,]*$/.test(text.slice(last.end, part.start));
    if (isOne) Object.assign(last, { end: part.end, text: text.slice(last.start, part.end), label: "both" });
    else all.push(part);
  }
  return all;
}

/** Say in words what the parts of a due date mean; one alone has all of it: “8:30” is “Today, 8:30”. */
function label(parts: Part[], due: number, today: number, hasTime: boolean, locale: string | undefined): void {
  const format = (options: Intl.DateTimeFormatOptions) =>
    new Intl.DateTimeFormat(locale, { ...options, timeZone: "UTC" }).format(due);
  const isThisYear = new Date(due).getUTCFullYear() === new Date(today).getUTCFullYear();
  const day =
    ["Today", "Tomorrow"][Math.floor((due - today) / DAY)] ??
    format({ weekday: "short", day: "numeric", month: "short", ...(isThisYear ? {} : { year: "numeric" }) });
  const time = format({ hour: "numeric", minute: "2-digit" });
  const words: Record<string, string> = { day, time, both: `${day}, ${time}` };
  const dues = parts.filter(({ kind }) => kind === "due");
  for (const one of dues) one.label = words[dues.length > 1 ? one.label : hasTime ? "both" : "day"] ?? day;
}

/** What is left of a line, tidied; the line itself if that is nothing. */
function titleOf(text: string, parts: Part[]): string {
  const pieces = [0, ...parts.map(({ end }) => end)].map((start, place) => text.slice(start, parts[place]?.start));
  const left = pieces.reduce((before, after) => {
    const space = /^\s*[,;.!?)]/.test(after) || /\($/.test(before) ? "" : " ";
    return before.trimEnd() + space + after.trimStart();
  });
  const tidied = (one: string) => one.replace(/\s+/g, " ").trim();
  if (!parts.length) return tidied(text);
  const closed = left.replace(/\s*\(\s*\)/g, "").replace(/,\s*(?=[,.;!?])/g, "");
  return tidied(closed.replace(/^[\s,;]+|[\s,;]+$/g, "")) || tidied(text);
}
