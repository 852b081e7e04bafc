// What frontend/client/ does, against a running API: each test is of a user whom nobody else knows.
import { deepEqual, equal, rejects } from "node:assert/strict";
import test from "node:test";

import { type Changes, claimsOf, createApi, isConflict, type Options, type Task } from "better-tasks-client";

const { API_URL: url = "", TOKEN: token = "" } = process.env;
const newApi = (options: Partial<Options> = {}) => createApi({ url, getToken: async () => token, ...options });

/** A `fetch` that says what it sent, as “GET /api/tasks”. */
function listening(): { sent: string[]; fetch: typeof fetch } {
  const sent: string[] = [];
  return {
    sent,
    async fetch(request, init) {
      if (request instanceof Request) sent.push(`${request.method} ${new URL(request.url).pathname}`);
      return fetch(request, init);
    },
  };
}

test("every task comes once, by as many pages as it takes", async () => {
  const { sent, fetch } = listening();
  const api = newApi({ fetch });
  for (const title of ["e", "a", "d", "c", "b"]) await api.add({ title });
  const titles: string[] = [];
  for await (const task of api.all({ sort: "title", limit: 2 })) titles.push(task.title);
  deepEqual(titles, ["a", "b", "c", "d", "e"]);
  equal(sent.filter((each) => each === "GET /api/tasks").length, 3);
  const { tasks, next } = await api.list({ sort: "title", limit: 3 });
  deepEqual([...tasks, ...(await api.list({ sort: "title", limit: 3 }, next)).tasks].map((task) => task.title), titles);
});

test("a loop over all pages that is left fetches no more of them", async () => {
  const { sent, fetch } = listening();
  const api = newApi({ fetch });
  for (const title of ["a", "b"]) await api.add({ title });
  for await (const _ of api.all({ limit: 1 })) break;
  equal(sent.filter((each) => each === "GET /api/tasks").length, 1);
});

test("a change of a version that is no longer there is refused, and one of no version is made", async () => {
  const api = newApi();
  const seen = await api.add({ title: "Draft" });
  await api.change(seen, { title: "Better" });
  await rejects(api.change(seen, { title: "Too late" }), (error: Error) => {
    equal(isConflict(error), true);
    equal("problem" in error && JSON.stringify(error.problem).includes('"version":2'), true);
    return error.message.length > 10;
  });
  await rejects(api.remove(seen), { code: "PRECONDITION_FAILED" });
  equal((await api.change({ id: seen.id }, { title: "Best" })).task.title, "Best");
  equal((await api.remove({ id: seen.id })).seq !== undefined, true);
  deepEqual(await api.remove({ id: seen.id }), { seq: undefined });
});

/** A `fetch` that loses as many answers. */
const losing = (lost: number): typeof fetch => {
  return async (request, init) => {
    const response = await fetch(request, init);
    if (lost-- > 0) throw new TypeError("fetch failed");
    return response;
  };
};

test("a task whose answer was lost is made once", async () => {
  const made = await newApi({ fetch: losing(1) }).add({ title: "Once" });
  const api = newApi({ fetch: losing(1) });
  await rejects(api.add({ title: "Again" }, "mine"), { code: "UNREACHABLE" });
  const again = await api.add({ title: "Again" }, "mine");
  deepEqual((await api.list({ sort: "title" })).tasks, [again, made]);
});

test("a token that is refused is asked for anew, once for all requests at a time", async () => {
  const asked: boolean[] = [];
  const api = newApi({
    async getToken({ fresh }) {
      asked.push(fresh);
      return fresh ? token : `${token.slice(0, -6)}AAAAAA`;
    },
  });
  await Promise.all([api.tags(), api.list(), api.add({ title: "Sent twice" })]);
  deepEqual(asked, [false, true]);
  equal((await api.list()).tasks.length, 1);
});

test("a token is asked for anew when three quarters of its life are over", async (t) => {
  let now = 0;
  t.mock.method(performance, "now", () => now);
  const asked: boolean[] = [];
  const api = newApi({
    async getToken({ fresh }) {
      asked.push(fresh);
      return token;
    },
  });
  const { iat = 0, exp = 0 } = claimsOf(token);
  for (const part of [0, 0.74, 0.76, 1.49, 1.53]) {
    now = part * (exp - iat) * 1000;
    await api.tags();
    equal(asked.length, 1 + Math.floor(part / 0.75));
  }
  deepEqual(asked, [false, false, false]);
});

test("a token that is refused again is an error with the API's sentence and code", async () => {
  let asked = 0;
  const api = newApi({ getToken: async () => `not-a-token-${asked++}` });
  await rejects(api.list(), { name: "ApiError", code: "INVALID_TOKEN", message: /token/ });
  equal(asked, 2);
});

test("what getToken throws comes through, and no token is said to be none", async () => {
  const signedOut = new Error("Signed out");
  const failing = newApi({ getToken: () => Promise.reject(signedOut) });
  await rejects(failing.list(), signedOut);
  await rejects(failing.follow({}), signedOut);
  await rejects(newApi({ getToken: async () => undefined }).list(), {
    code: "NO_TOKEN",
    message: "There is no token. Sign in first.",
  });
});

test("an API that is not there is said to be unreachable", async () => {
  await rejects(newApi({ url: "http://127.0.0.1:1" }).list(), {
    code: "UNREACHABLE",
    message: "The server cannot be reached. Try again in a moment.",
  });
});

const byId = (tasks: Task[]) => new Map(tasks.map((task) => [task.id, task]));

test("a map that is synced has all tasks as they are", async () => {
  const api = newApi();
  const held = new Map<string, Task>();
  const made: Task[] = [];
  for (const title of ["Changed", "Deleted", "Left"]) made.push(await api.add({ title }));
  let seq = await api.sync(held);
  deepEqual(held, byId(made));
  await api.change(made[0]!, { title: "Changed twice" });
  await api.remove(made[1]!);
  await api.add({ title: "New" });
  seq = await api.sync(held, seq);
  deepEqual(held, byId((await api.list()).tasks));
  await api.removeAll({ q: "new" });
  await api.sync(held, seq + 1_000_000); // which the log does not have
  deepEqual(held, byId((await api.list()).tasks));
});

test("events go on after the last one that was told of", async () => {
  const api = newApi();
  const after: (string | null)[] = [];
  const page = new AbortController();
  const cut = newApi({
    /** Ends the first stream once it has told of something. */
    async fetch(request, init) {
      const response = await fetch(request, init);
      if (request.headers.get("Accept") !== "text/event-stream") return response;
      after.push(request.headers.get("Last-Event-ID"));
      if (after.length > 1 || !response.body) return response;
      const end = new TransformStream({
        transform(chunk, controller) {
          controller.enqueue(chunk);
          if (new TextDecoder().decode(chunk).includes('"row"')) controller.terminate();
        },
      });
      return new Response(response.body.pipeThrough(end), response);
    },
  });
  const pages: Changes[] = [];
  const opened: boolean[] = [];
  await cut.follow({
    signal: page.signal,
    async onOpen(isResumed) {
      if (opened.push(isResumed) === 1) await api.add({ title: "First" });
      else if (!isResumed) page.abort();
    },
    async onChanges(changes) {
      pages.push(changes);
      if (JSON.stringify(changes).includes("Meanwhile")) page.abort();
    },
    onLost: () => api.add({ title: "Meanwhile" }),
  });
  deepEqual(opened, [false, true]);
  deepEqual(after, [null, String(pages.at(-2)?.seq)]);
  const titles = pages.flatMap(({ changes }) => changes.map((change) => "row" in change && change.row?.title));
  deepEqual(titles, ["First", "Meanwhile"]);
});

test("what a listener throws ends the following", async () => {
  const wrong = new TypeError("Of the listener");
  const onChanges = () => {
    throw wrong;
  };
  await rejects(newApi().follow({ onChanges }), wrong);
});
