import { createParser, type EventSourceMessage } from "eventsource-parser";

import { ApiError, unreachable } from "./errors.ts";
import type { components } from "./schema.d.ts";

export type Changes = components["schemas"]["ChangesPage"];

const SILENCE_MS = 40_000; // the API sends a comment every 15 s
const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 30_000;

/** What is told of changes. A call that returns a promise is waited for. */
export interface Following {
  /** The `seq` of the last changes that are known. Without it, from now on. */
  since?: number | undefined;
  signal?: AbortSignal;
  /** A stream begins: after the last changes that were told of, or without any knowledge of what was before. */
  onOpen?: (isResumed: boolean) => unknown;
  onChanges?: (page: Changes) => unknown;
  /** A stream has ended, or could not be opened, and why. It is opened again, after a second or more. */
  onLost?: (error: ApiError | undefined) => unknown;
}

type Open = (since: number | undefined, signal: AbortSignal) => Promise<ReadableStream<Uint8Array> | null>;

/** Yield the events of a stream. Give it up if nothing comes, not even a comment. */
async function* eventsOf(
  open: Open,
  since: number | undefined,
  signal?: AbortSignal,
): AsyncGenerator<EventSourceMessage> {
  const own = new AbortController();
  const abort = () => own.abort();
  signal?.addEventListener("abort", abort);
  const part = <T>(coming: Promise<T>) => {
    const timer = setTimeout(abort, SILENCE_MS);
    return coming.finally(() => clearTimeout(timer));
  };
  try {
    const reader = (await part(open(since, own.signal)))?.getReader();
    if (!reader) throw new Error("This fetch gives no streams. In React Native, use the one of expo/fetch.");
    const decoder = new TextDecoder();
    const events: EventSourceMessage[] = [];
    const parser = createParser({ onEvent: (event) => events.push(event) });
    for (;;) {
      const { value, done } = await part(reader.read()).catch((error) => Promise.reject(unreachable(error)));
      if (done) return;
      parser.feed(decoder.decode(value, { stream: true }));
      yield* events.splice(0);
    }
  } finally {
    signal?.removeEventListener("abort", abort);
    abort();
  }
}

/** Tell of the user's changes until the signal is aborted; end with what `getToken` or a listener throws. */
export async function follow(open: Open, forgetToken: () => void, following: Following): Promise<void> {
  const { signal, onOpen, onChanges, onLost } = following;
  let { since } = following;
  let failures = 0;
  while (!signal?.aborted) {
    let isOpen = false;
    let problem: ApiError | undefined;
    try {
      for await (const { event, data } of eventsOf(open, since, signal)) {
        if (signal?.aborted) return;
        const said = event === "change" || event === "end" ? JSON.parse(data) : {};
        if (event === "end") problem = new ApiError(`The stream ended: ${said.reason}.`, said.reason.toUpperCase());
        if (event !== "change") continue;
        if (!isOpen) await onOpen?.(since !== undefined);
        isOpen = true;
        failures = 0;
        await onChanges?.(said);
        since = said.seq;
      }
    } catch (error) {
      if (signal?.aborted) return;
      if (!(error instanceof ApiError) || error.code === "NO_TOKEN") throw error;
      problem = error;
    }
    if (signal?.aborted) return;
    if (problem?.code === "CHANGES_NOT_KEPT") since = undefined;
    const isRevoked = problem?.code === "TOKEN_REVOKED"; // its session may have ended, which only who gives tokens knows
    if (isRevoked) forgetToken();
    await onLost?.(problem);
    const delay = isRevoked && failures === 0 ? 0 : Math.min(FIRST_DELAY_MS * 2 ** failures, LONGEST_DELAY_MS);
    failures++;
    await new Promise<void>((resume) => {
      const go = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", go);
        resume();
      };
      const timer = setTimeout(go, delay * (0.5 + Math.random() / 2));
      signal?.addEventListener("abort", go);
    });
  }
}
