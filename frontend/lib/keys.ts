import { useLayoutEffect } from "react";
import { tinykeys } from "tinykeys";

const TYPED_IN = "input:not([type=checkbox], [type=radio]), textarea, select, dialog";

/** Every key with what it does, as `?` shows them. */
export const KEYS = {
  n: "New task",
  "/": "Search",
  "↓ ↑ or j k": "Next or previous task",
  Enter: "Open the task",
  e: "Complete",
  "1 2 3": "High, medium or low priority",
  d: "Move to a day",
  t: "Add tags",
  Del: "Delete",
  x: "Select",
  Esc: "Leave a field, an edit or a selection",
  "Ctrl K or ⌘ K": "Find a command, a view or a task",
  "Ctrl Z or ⌘ Z": "Undo",
  "?": "All keys",
};

type Act = () => unknown;

/** Whether a key belongs to the field that it was pressed in, and is no command to the page. */
const isTyping = (event: KeyboardEvent) => (event.target as HTMLElement).closest(TYPED_IN) !== null;
const mayRepeat = (event: KeyboardEvent) => !event.repeat || /^(j|k|Arrow.*)$/.test(event.key);

/** Act on keys, unless they are typed; one whose act returns false keeps what it does in the browser. */
export function useKeys(acts: Record<string, Act>, ignore = isTyping): void {
  useLayoutEffect(() => {
    const hear = (act: Act) => (event: KeyboardEvent) => act() !== false && event.preventDefault();
    const heard = Object.entries(acts).map(([key, act]) => [key, hear(act)]);
    return tinykeys(window, Object.fromEntries(heard), { ignore: (event) => !mayRepeat(event) || ignore(event) });
  });
}
