import { createParser, type EventSourceMessage } from "eventsource-parser";

import { type Api, type Changes, isNotKept } from "./api";
import { SignedOutError } from "./token";

const GRACE_MS = 2000;
const SILENCE_MS = 40_000; // the API sends a comment every 15 s
const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 30_000;

/** `opening` until a first stream has begun, or failed; `lost` after two seconds without one; else `open`. */
export type Connection = "opening" | "open" | "lost";

interface Listener {
  /** A stream begins: after the last event that was read, or without any knowledge of what was before. */
  onOpen: (isResumed: boolean) => void;
  onChanges: (changes: Changes) => void;
  onSignedOut: () => void;
}

/** Follow the user's changes. Return a store for `useSyncExternalStore` that says how the connection is. */
export function createLive(api: Api, { onOpen, onChanges, onSignedOut }: Listener) {
  let connection: Connection = "opening";
  let tell = () => {};
  let lastEventId: string | undefined;
  let stream: AbortController | undefined;
  let failures = 0;
  let isRevoked = false; // the token of the last stream: its session may have ended, which only Better Auth knows
  let retry: ReturnType<typeof setTimeout> | undefined;
  let grace: ReturnType<typeof setTimeout> | undefined; // as long as there is no stream that has begun

  function become(next: Connection) {
    connection = next;
    tell();
  }

  function onEvent({ event, id, data }: EventSourceMessage) {
    if (event === "end") {
      const { reason } = JSON.parse(data);
      if (reason === "changes_not_kept") lastEventId = undefined;
      isRevoked = reason === "token_revoked";
    }
    if (event !== "change") return;
    if (grace) {
      clearTimeout(grace);
      grace = undefined;
      failures = 0;
      onOpen(lastEventId !== undefined);
      become("open");
    }
    lastEventId = id;
    onChanges(JSON.parse(data));
  }

  /** Wait for a part of a stream, and give the stream up if nothing comes. */
  async function part<T>(coming: Promise<T>, own: AbortController): Promise<T> {
    const timer = setTimeout(() => own.abort(), SILENCE_MS);
    return coming.finally(() => clearTimeout(timer));
  }

  async function read(own: AbortController) {
    const body = await part(api.events(lastEventId, own.signal), own);
    if (!body) return;
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = createParser({ onEvent });
    for (;;) {
      const { value, done } = await part(reader.read(), own);
      if (done || stream !== own) return;
      parser.feed(value);
    }
  }

  function wait() {
    grace ??= setTimeout(() => become("lost"), GRACE_MS);
  }

  /** Open a stream, in place of the one there is. A hidden page has none: a browser has few connections for all pages. */
  async function open() {
    close();
    if (document.hidden) return rest();
    wait();
    const own = new AbortController();
    stream = own;
    isRevoked = false;
    try {
      await read(own);
    } catch (error) {
      if (stream === own && error instanceof SignedOutError) return onSignedOut();
      if (isNotKept(error)) lastEventId = undefined;
    }
    if (stream !== own) return;
    close();
    wait();
    if (connection === "opening") become("open");
    if (isRevoked) api.forgetToken();
    const isAtOnce = isRevoked && failures === 0;
    const delay = Math.min(FIRST_DELAY_MS * 2 ** failures++, LONGEST_DELAY_MS);
    retry = setTimeout(open, isAtOnce ? 0 : delay * (0.5 + Math.random() / 2));
  }

  function close() {
    clearTimeout(retry);
    stream?.abort();
    stream = undefined;
  }

  function rest() {
    close();
    clearTimeout(grace);
    grace = undefined;
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
        rest();
      };
    },
  };
}
