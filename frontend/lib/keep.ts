import { dehydrate, hydrate, type QueryClient } from "@tanstack/react-query";
import { clear, del, get, set } from "idb-keyval";

import { isUnsent, latest, type Sent } from "./outbox";

const LISTS = "lists";
const OUTBOX = "outbox ";
const PAGE = "page"; // the name of the cache that public/sw.js has it in, too
const FILES = "files";
const SAVE_MS = 250;
const MAX_AGE_MS = 30 * 24 * 3600 * 1000;

const boxes = () => Object.keys(localStorage).filter((name) => name.startsWith(OUTBOX));

interface Kept {
  userId: string;
  state: object;
}

/** Keep what the user saw last, and what is not sent yet, on disk, until this user leaves in any tab. */
export function keep(queries: QueryClient, userId: string, onSignedOut: () => void) {
  const outbox = OUTBOX + crypto.randomUUID(); // of this tab: each sends its own
  const over = new AbortController();
  const { signal } = over;
  const tabs = new BroadcastChannel("sign-out");
  let timer: ReturnType<typeof setTimeout> | undefined;
  let onDisk = 0;

  function saveLists() {
    clearTimeout(timer);
    timer = undefined;
    const state = dehydrate(queries, {
      shouldDehydrateMutation: () => false,
      shouldDehydrateQuery: ({ queryKey: [name, of], state: { data, dataUpdatedAt } }) =>
        Boolean(data) &&
        (name === "tasks" || name === "tags") &&
        !Object(of).q &&
        dataUpdatedAt > Date.now() - MAX_AGE_MS,
    });
    // It is fetched anew whenever it can be, and no failure is left of it.
    for (const list of state.queries)
      list.state = { ...list.state, status: "success", error: null, fetchFailureReason: null, isInvalidated: true };
    set(LISTS, { userId, state });
  }

  function saveOutbox() {
    const { mutations } = dehydrate(queries, {
      shouldDehydrateQuery: () => false,
      shouldDehydrateMutation: isUnsent,
    });
    for (const each of mutations) {
      const { variables } = each.state as Sent;
      const now = variables && "task" in variables ? { ...variables, task: latest(variables.task) } : variables;
      // What was under way or refused is sent again: the answer is the same then.
      const anew = { status: "pending", isPaused: true, error: null, failureReason: null, failureCount: 0 } as const;
      each.state = { ...each.state, ...anew, variables: now };
    }
    if (mutations.length < onDisk) saveLists(); // before what is in them now is no longer in the outbox
    // At once, so that a reload in the next moment finds it.
    if (mutations.length) localStorage.setItem(outbox, JSON.stringify({ userId, state: { mutations } } satisfies Kept));
    else if (onDisk) localStorage.removeItem(outbox);
    onDisk = mutations.length;
  }

  /** Take over what a tab has left that is no more. */
  function adopt(name: string) {
    const left: Kept = JSON.parse(localStorage.getItem(name) ?? "{}");
    if (signal.aborted) return;
    if (left.userId === userId) hydrate(queries, left.state);
    saveOutbox();
    localStorage.removeItem(name);
    queries.resumePausedMutations();
  }

  async function restore() {
    const lists = await get<Kept>(LISTS);
    if (lists?.userId === userId && !signal.aborted) hydrate(queries, lists.state);
    for (const name of boxes().filter((each) => each !== outbox))
      navigator.locks.request(name, { signal }, () => adopt(name)).catch(() => undefined);
  }

  /** Let the page start without a network: with the service worker, and what that has not seen of it. */
  async function prepare() {
    await navigator.serviceWorker.register("/sw.js");
    await navigator.serviceWorker.ready;
    await import("./quick"); // which is loaded later than the page
    const [pages, files] = [await caches.open(PAGE), await caches.open(FILES)];
    if (!(await pages.match("/"))) {
      const page = await fetch("/today");
      if (page.ok && !page.redirected && !signal.aborted) await pages.put("/", page);
    }
    for (const { name } of performance.getEntriesByType("resource"))
      if (name.includes("/_next/static/") && !(await files.match(name))) await files.add(name);
  }

  function stop() {
    over.abort();
    clearTimeout(timer);
    tabs.close();
    for (const unsubscribe of subscriptions) unsubscribe();
  }

  tabs.onmessage = () => {
    erase();
    onSignedOut();
  };
  const subscriptions = [
    queries.getMutationCache().subscribe(saveOutbox),
    queries.getQueryCache().subscribe(({ type }) => {
      if (type === "updated") timer ??= setTimeout(saveLists, SAVE_MS);
    }),
  ];
  navigator.locks.request(outbox, () => new Promise((resolve) => signal.addEventListener("abort", resolve)));
  restore().catch(console.error);
  if (process.env.NODE_ENV === "production") prepare().catch(console.error);

  /** The session has ended: nothing can be seen any more, but what is not sent is sent when the user is back. */
  async function hide() {
    stop();
    await Promise.all([caches.delete(PAGE), del(LISTS)]);
  }

  /** The user has signed out: nothing stays, and other tabs are told. */
  async function erase() {
    tabs.postMessage("");
    stop();
    sessionStorage.clear();
    for (const name of boxes()) localStorage.removeItem(name);
    await Promise.all([caches.delete(PAGE), clear()]);
  }

  return { stop, hide, erase };
}
