import { useApp } from "./tasks";

/** Keep what is typed in this tab, through a reload, until it is sent or given up. */
export function useDraft<T>(of: string) {
  const name = `draft ${useApp().userId} ${of}`;
  return {
    read: (): T | undefined => JSON.parse(sessionStorage.getItem(name) ?? "null") ?? undefined,
    keep: (typed: T) => sessionStorage.setItem(name, JSON.stringify(typed)),
    drop: () => sessionStorage.removeItem(name),
  };
}
