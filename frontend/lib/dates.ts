const DAY_MS = 24 * 60 * 60 * 1000;
const two = (number: number) => String(Math.abs(number)).padStart(2, "0");

/** A moment as the value of an `<input type="datetime-local">`: local time, to the minute. */
export function toLocal(moment: string): string {
  const date = new Date(moment);
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

/** A moment in local time; yesterday, today and tomorrow are named. */
export function readable(moment: string): string {
  const date = new Date(moment);
  const days = Math.round((new Date(moment).setHours(0, 0, 0, 0) - new Date().setHours(0, 0, 0, 0)) / DAY_MS);
  if (Math.abs(days) > 1) return date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  const day = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" }).format(days, "day");
  return `${day}, ${date.toLocaleTimeString(undefined, { timeStyle: "short" })}`;
}
