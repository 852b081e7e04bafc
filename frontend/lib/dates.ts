const DAY_MS = 24 * 60 * 60 * 1000;
const two = (number: number) => String(Math.abs(number)).padStart(2, "0");

/** A moment as an `<input type="datetime-local">` has it: in the browser's own time, to the minute. */
export function toLocal(moment: string): string {
  const date = new Date(moment);
  if (date.getFullYear() > 9999) return ""; // no such field takes it
  const day = `${String(date.getFullYear()).padStart(4, "0")}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day}T${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** The moment that such a field says, with the browser's offset from UTC, in whose time a recurrence rule is read. */
export function fromLocal(local: string): string {
  const date = new Date(local);
  const east = -date.getTimezoneOffset();
  // Said anew, because an hour that the clocks leave out becomes the next one.
  return `${toLocal(date.toISOString())}:00${east < 0 ? "-" : "+"}${two(Math.trunc(east / 60))}:${two(east % 60)}`;
}

/** A moment in the browser's own time; of yesterday, today and tomorrow by that name. */
export function readable(moment: string): string {
  const date = new Date(moment);
  const days = Math.round((new Date(moment).setHours(0, 0, 0, 0) - new Date().setHours(0, 0, 0, 0)) / DAY_MS);
  if (Math.abs(days) > 1) return date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  const day = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" }).format(days, "day");
  return `${day}, ${date.toLocaleTimeString(undefined, { timeStyle: "short" })}`;
}
