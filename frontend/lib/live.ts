import type { Api, Changes } from "better-tasks-client";

const GRACE_MS = 2000;

/** `lost` after two seconds without a stream. */
export type Connection = "open" | "lost";

interface Listener {
  /** A stream begins: after the last event that was read, or without any knowledge of what was before. */
  onOpen: (isResumed: boolean) => void;
  onChanges: (changes: Changes) => void;
  onSignedOut: () => void;
}

/** Follow the user's changes. Return a store for `useSyncExternalStore` that says how the connection is. */
export function createLive(api: Api, { onOpen, onChanges, onSignedOut }: Listener) {
  let connection: Connection = "open";
  let tell = () => {};
  let since: number | undefined;
  let stream: AbortController | undefined;
  let grace: ReturnType<typeof setTimeout> | undefined; // as long as there is no stream that has begun

  function become(next: Connection) {
    connection = next;
    tell();
  }

  function wait() {
    grace ??= setTimeout(() => become("lost"), GRACE_MS);
  }

  function forgive() {
    clearTimeout(grace);
    grace = undefined;
  }

  /** Open a stream, in place of the one there is. A hidden page has none: a browser has few connections for all pages. */
  function open() {
    stream?.abort();
    if (document.hidden) return forgive();
    wait();
    stream = new AbortController();
    api
      .follow({
        since,
        signal: stream.signal,
        onOpen(isResumed) {
          forgive();
          onOpen(isResumed);
          become("open");
        },
        onChanges(changes) {
          since = changes.seq;
          onChanges(changes);
        },
        onLost: wait,
      })
      .catch(onSignedOut);
  }

  return {
    connection: () => connection,
    subscribe(listener: () => void): () => void {
      tell = listener;
      for (const event of ["online", "offline"]) addEventListener(event, open);
      document.addEventListener("visibilitychange", open);
      open();
      return () => {
        for (const event of ["online", "offline"]) removeEventListener(event, open);
        document.removeEventListener("visibilitychange", open);
        stream?.abort();
        forgive();
      };
    },
  };
}
