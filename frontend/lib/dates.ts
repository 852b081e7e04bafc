const DAY_MS = 24 * 60 * 60 * 1000;
const two = (number: number) => String(Math.abs(number)).padStart(2, "0");

/** Whether a due date is a whole day, and no moment. */
export const isDay = (due: string) => due.length === 10;

/** When a due date is over: a whole day at its end, in local time. */
export const endOf = (due: string) => new Date(isDay(due) ? `${due}T23:59:59.999` : due);

/** A due date as the value of an `<input type="datetime-local">`: local time, to the minute. */
export function toLocal(due: string): string {
  const date = endOf(due);
  if (date.getFullYear() > 9999) return ""; // the field does not accept it
  const day = `${String(date.getFullYear()).padStart(4, "0")}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day}T${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** The value of such a field with the browser's offset from UTC: a recurrence rule is read in that offset. */
export function fromLocal(local: string): string {
  const date = new Date(local);
  const east = -date.getTimezoneOffset();
  // Formatted again, because a local time that the clocks skip becomes the next hour.
  return `${toLocal(date.toISOString())}:00${east < 0 ? "-" : "+"}${two(Math.trunc(east / 60))}:${two(east % 60)}`;
}

/** A due date in local time, a whole day without one; yesterday, today and tomorrow are named. */
export function readable(due: string): string {
  const date = endOf(due);
  const time = isDay(due) ? {} : ({ timeStyle: "short" } as const);
  const days = Math.round((endOf(due).setHours(0, 0, 0, 0) - new Date().setHours(0, 0, 0, 0)) / DAY_MS);
  if (Math.abs(days) > 1) return date.toLocaleString(undefined, { dateStyle: "medium", ...time });
  const day = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" }).format(days, "day");
  return isDay(due) ? day : `${day}, ${date.toLocaleTimeString(undefined, time)}`;
}
