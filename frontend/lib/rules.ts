/** Words for recurrence rules (RFC 5545), and the days that they fall on. */

export const DAYS = ["SU", "MO", "TU", "WE", "TH", "FR", "SA"];
const DAY_NAMES = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
export const WEEKDAYS = "MO,TU,WE,TH,FR";
const UNITS: Record<string, string> = { DAILY: "day", WEEKLY: "week", MONTHLY: "month", YEARLY: "year" };
const PLACES: Record<string, string> = { 1: "first", 2: "second", 3: "third", 4: "fourth", "-1": "last" };

const partsOf = (rule: string) => Object.fromEntries(rule.split(";").map((part) => part.split("=")));
const list = new Intl.ListFormat("en-GB");

function ordinal(number: number): string {
  const ending = { one: "st", two: "nd", few: "rd" }[
    new Intl.PluralRules("en", { type: "ordinal" }).select(number) as "one"
  ];
  return number === -1 ? "last day" : `${number}${ending ?? "th"}`;
}

/** A rule as people say it, like “every month on the last Friday”; one that has no such words as it is. */
export function ruleInWords(rule: string): string {
  const { FREQ, INTERVAL = "1", BYDAY, BYMONTHDAY, BYMONTH, SKIP: _, ...others } = partsOf(rule);
  const every = INTERVAL === "1" ? `every ${UNITS[FREQ]}` : `every ${INTERVAL} ${UNITS[FREQ]}s`;
  if (!UNITS[FREQ] || Object.keys(others).length) return rule;
  if (FREQ === "YEARLY" && /^\d+$/.test(BYMONTHDAY) && /^\d+$/.test(BYMONTH) && !BYDAY) {
    const month = new Date(0, BYMONTH - 1).toLocaleDateString("en", { month: "long" });
    return `${every} on ${BYMONTHDAY} ${month}`;
  }
  if (BYMONTH || (BYDAY && BYMONTHDAY)) return rule;
  if (FREQ === "MONTHLY" && BYMONTHDAY)
    return `${every} on the ${list.format(BYMONTHDAY.split(",").map((day: string) => ordinal(Number(day))))}`;
  if (FREQ === "MONTHLY" && /^-?\d[A-Z]{2}$/.test(BYDAY)) {
    const place = PLACES[BYDAY.slice(0, -2)];
    return place ? `${every} on the ${place} ${DAY_NAMES[DAYS.indexOf(BYDAY.slice(-2))]}` : rule;
  }
  if (FREQ === "WEEKLY" && BYDAY) {
    const days =
      BYDAY === WEEKDAYS ? "weekday" : list.format(BYDAY.split(",").map((day: string) => DAY_NAMES[DAYS.indexOf(day)]));
    return INTERVAL === "1" ? `every ${days}` : `${every} on ${days}`;
  }
  return BYDAY || BYMONTHDAY ? rule : every;
}

/** The first day from a day on that a rule falls on; days are midnights in UTC. */
export function firstDay(rule: string, from: number): number {
  const { BYDAY, BYMONTHDAY, SKIP } = partsOf(rule);
  const fits = (date: Date) => {
    const day = date.getUTCDate();
    const length = new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 0)).getUTCDate();
    const name = DAYS[date.getUTCDay()];
    if (BYMONTHDAY)
      return BYMONTHDAY.split(",").some(
        (one: string) => day === (one === "-1" ? length : SKIP ? Math.min(Number(one), length) : Number(one)),
      );
    const inMonth = day + 7 > length ? [`-1${name}`] : [];
    return !BYDAY || [name, `${Math.ceil(day / 7)}${name}`, ...inMonth].some((one) => BYDAY.split(",").includes(one));
  };
  const date = new Date(from);
  for (let days = 0; days < 366 && !fits(date); days++) date.setUTCDate(date.getUTCDate() + 1);
  return date.getTime();
}
