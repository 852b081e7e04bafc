const DAY_MS = 24 * 60 * 60 * 1000;
// How far from a reader's own midnight a whole day can end, by its zone (UTC-12 to UTC+14): a list asks for so much
// more, and shows what belongs to the day.
const ZONES_MS = 26 * 60 * 60 * 1000;
const two = (number: number) => String(Math.abs(number)).padStart(2, "0");
const four = (number: number) => String(number).padStart(4, "0");
const dayIn = (date: Date) => `${four(date.getFullYear())}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
export const midnight = (day: string) => new Date(`${day}T00:00`);

/** The browser's IANA time zone. */
export const timeZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;

export const today = () => dayIn(new Date());

export function addDays(day: string, days: number): string {
  const date = midnight(day);
  date.setDate(date.getDate() + days);
  return dayIn(date);
}

/** The moment before which every whole day has ended that is over by the end of a day here. */
export const latestEndOf = (day: string) => new Date(midnight(addDays(day, 1)).getTime() + ZONES_MS).toISOString();

/** The moment from which a whole day can end that is this one here. */
export const earliestStartOf = (day: string) => new Date(midnight(day).getTime() - ZONES_MS).toISOString();

/** Whether a due date is a whole day, and no moment. */
export const isDay = (due: string) => due.length === 10;

/** When a due date is over: a whole day at its end, in local time. */
export const endOf = (due: string) => new Date(isDay(due) ? `${due}T23:59:59.999` : due);

/** The day of a moment or a due date, in local time. */
export const dayOf = (due: string) => (isDay(due) ? due : dayIn(new Date(due)));

/** The time of day of a due date for an `<input type="time">`: local, to the minute; of a whole day none. */
export function timeOf(due: string): string {
  const date = new Date(due);
  return isDay(due) ? "" : `${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** What the fields for the day and the time say: a whole day, or a moment with the browser's offset from UTC. */
export function dueOf(day: string, time: string): string {
  if (!time) return day;
  const date = new Date(`${day}T${time}`);
  const east = -date.getTimezoneOffset();
  const offset = `${east < 0 ? "-" : "+"}${two(Math.trunc(east / 60))}:${two(east % 60)}`;
  // Formatted again, because a local time that the clocks skip becomes the next hour.
  return `${dayIn(date)}T${two(date.getHours())}:${two(date.getMinutes())}:00${offset}`;
}

/** A day in words: yesterday, today and tomorrow are named, and the days of the next week by their names. */
export function dayInWords(day: string): string {
  const days = Math.round((midnight(day).getTime() - midnight(today()).getTime()) / DAY_MS);
  if (Math.abs(days) <= 1) return new Intl.RelativeTimeFormat(undefined, { numeric: "auto" }).format(days, "day");
  const isNear = days > 0 && days < 7;
  const year = day.slice(0, 4) === today().slice(0, 4) ? undefined : "numeric";
  const date = isNear ? ({ weekday: "long" } as const) : ({ day: "numeric", month: "short", year } as const);
  return midnight(day).toLocaleDateString(undefined, date);
}

/** A due date in local time, a whole day without one. */
export function readable(due: string): string {
  const day = dayInWords(dayOf(due));
  return isDay(due) ? day : `${day}, ${new Date(due).toLocaleTimeString(undefined, { timeStyle: "short" })}`;
}
