const TYPED_IN = "input:not([type=checkbox], [type=radio]), textarea, select, dialog";

/** Whether a key belongs to the field that it was pressed in, and is no command to the page. */
export const isTyping = (event: KeyboardEvent) => (event.target as HTMLElement).closest(TYPED_IN) !== null;
