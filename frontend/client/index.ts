import createClient from "openapi-fetch";

import { ApiError, isGone, isNotKept, isUnreachable, unreachable } from "./errors.ts";
import { type Changes, type Following, follow } from "./events.ts";
import type { components, paths } from "./schema.d.ts";
import { createTokens, type GetToken } from "./tokens.ts";

export * from "./errors.ts";
export type { Changes, Following } from "./events.ts";
export { claimsOf, type GetToken } from "./tokens.ts";

export type Task = components["schemas"]["Task"];
export type NewTask = components["schemas"]["TaskCreate"];
export type TaskChanges = components["schemas"]["TaskUpdate"];
export type ManyChanges = components["schemas"]["TaskUpdateMany"];
/** What was done to a task; by whom, if not by the user. */
export type HistoryEntry = Omit<components["schemas"]["HistoryEntry"], "by"> & { by: string | undefined };
export type Tag = components["schemas"]["ListedTag"];
export type Filters = Omit<NonNullable<paths["/api/tasks"]["get"]["parameters"]["query"]>, "cursor">;
export type BulkFilters = Omit<Filters, "sort" | "limit">;

const TIMEOUT_MS = 30_000; // longer than the API waits for its database
const EVENTS = "text/event-stream";

/** What `createApi` needs. */
export interface Options {
  /** Where the API is. */
  url: string;
  getToken: GetToken;
  /** Another `fetch`, where the global one will not do. */
  fetch?: (request: Request, init?: RequestInit) => Promise<Response>;
  /** Puts what the API says of a problem into other words for people. */
  inWords?: (detail: string) => string;
}

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The number of the change that was made, by which it can be undone. Undefined if nothing was changed. */
function seqOf(response: Response): number | undefined {
  const said = response.headers.get("Change");
  return said === null ? undefined : Number(said);
}

/** The cursor of the next page. */
const nextOf = (response: Response) => response.headers.get("Next-Cursor") ?? undefined;

/** A task, of whose version a change is made, or of any version if it says none. */
type Known = Pick<Task, "id"> & Partial<Pick<Task, "version">>;

const paramsOf = ({ id, version }: Known) => ({
  path: { id },
  header: version === undefined ? {} : { "If-Match": `"${version}"` },
});

/** A key is no secret, and crypto is not everywhere. */
const newKey = () => globalThis.crypto?.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;

/** Bring tasks, by id, up to date. */
export function applyChanges(tasks: Map<string, Task>, { changes }: Changes): void {
  for (const change of changes) {
    if (change.resource !== "tasks") continue;
    if ("row" in change) tasks.set(change.id, change.row as Task);
    else tasks.delete(change.id);
  }
}

/** Return a client for one user. Its functions throw ApiError, or what `getToken` throws. */
export function createApi(options: Options) {
  const { url, getToken, fetch: ask = (...request) => fetch(...request), inWords = String } = options;
  const tokens = createTokens(getToken);
  let newest = 0;

  /** Return the data and the response, or throw an ApiError, or what `getToken` threw. */
  async function checked<T>(asked: Promise<Answer<T>>): Promise<{ data: T; response: Response }> {
    const { data, error, response } = await asked.catch((cause) => {
      throw /^(Type|Syntax|Abort|Timeout)Error$/.test(cause?.name) ? unreachable(cause) : cause; // of the body
    });
    if (response.ok) return { data: data as T, response };
    const problem = (typeof error === "object" ? error : {}) as ApiError["problem"];
    const { detail = `The server answered ${response.status}.` } = problem;
    const code = problem.code ?? (response.status > 501 ? "UNREACHABLE" : undefined); // a proxy without the API
    throw new ApiError(inWords(detail), code, problem);
  }

  /** The same, of a request whose answer has nothing else to say. */
  const made = async (asked: Promise<Answer<unknown>>) => ({ seq: seqOf((await checked(asked)).response) });

  async function send(request: Request, by: typeof ask): Promise<Response> {
    const token = await tokens.get();
    request.headers.set("Authorization", `Bearer ${token}`);
    const isLong = by !== ask || request.headers.get("Accept") === EVENTS; // a stream of /api/events stays open
    const signal = isLong ? request.signal : (AbortSignal.timeout?.(TIMEOUT_MS) ?? null);
    const response = await by(request, { signal }).catch((cause) => Promise.reject(unreachable(cause)));
    if (response.status === 401) tokens.forget(token);
    newest = Math.max(newest, seqOf(response) ?? 0);
    return response;
  }

  /** Send a request with a token, and once more with another one if the API refuses that. */
  const sending = (by: typeof ask) => async (request: Request) => {
    const again = request.clone();
    const response = await send(request, by);
    return response.status === 401 ? send(again, by) : response;
  };

  const http = createClient<paths>({ baseUrl: url, fetch: sending(ask) });

  /** What is changed, as Server-Sent Events. */
  async function open(since: number | undefined, signal: AbortSignal) {
    const header = since === undefined ? {} : { "Last-Event-ID": String(since) };
    const options = { params: { header }, headers: { Accept: EVENTS }, parseAs: "stream" as const, signal };
    return (await checked(http.GET("/api/events", options))).data;
  }

  const api = {
    /** Every route of the API, typed: `http.GET("/api/me")` gives `{ data, error, response }`. */
    http,

    /** The number of the newest change that was made here. */
    newest: () => newest,

    /** Tell of what is changed, as it happens, until the signal is aborted: after lost connections, too. */
    follow: (following: Following): Promise<void> => follow(open, tokens.forget, following),

    /** A page of what was changed after `since`, and its `seq`, to ask with again; without it the `seq` of now. */
    async changes(since?: number): Promise<Changes> {
      const query = since === undefined ? {} : { since };
      return (await checked(http.GET("/api/changes", { params: { query } }))).data;
    },

    /** Bring a map of all tasks up to date, from the `seq` that the last time gave, or anew. Return the `seq` now. */
    async sync(tasks: Map<string, Task>, since?: number): Promise<number> {
      try {
        while (since !== undefined) {
          const page = await api.changes(since);
          applyChanges(tasks, page);
          if (page.seq === since) return since;
          since = page.seq;
        }
      } catch (error) {
        if (!isNotKept(error)) throw error;
      }
      const { seq } = await api.changes(); // first: what is changed meanwhile comes twice, which does no harm
      const all = new Map<string, Task>();
      for await (const task of api.all()) all.set(task.id, task);
      tasks.clear();
      for (const [id, task] of all) tasks.set(id, task);
      return seq;
    },

    /** Keep a map of all tasks in step, until the signal is aborted. `onChanges` is called when it is. */
    mirror(tasks: Map<string, Task>, { onOpen, onChanges, ...following }: Following): Promise<void> {
      return api.follow({
        ...following,
        async onOpen(isResumed) {
          if (!isResumed) await api.sync(tasks);
          await onOpen?.(isResumed);
        },
        async onChanges(page) {
          applyChanges(tasks, page);
          await onChanges?.(page);
        },
      });
    },

    /** All tasks, one by one, by as many pages as it takes. */
    async *all(filters: Filters = {}): AsyncGenerator<Task, void> {
      let cursor: string | undefined;
      do {
        const { tasks, next } = await api.list({ limit: 500, ...filters }, cursor);
        yield* tasks;
        cursor = next;
      } while (cursor);
    },

    /** A page of tasks, and the cursor of the next page. */
    async list(filters: Filters = {}, cursor?: string) {
      const query = cursor ? { ...filters, cursor } : filters;
      const { data, response } = await checked(http.GET("/api/tasks", { params: { query } }));
      return { tasks: data, next: nextOf(response) };
    },

    async get(id: string): Promise<Task> {
      return (await checked(http.GET("/api/tasks/{id}", { params: { path: { id } } }))).data;
    },

    /** Create a task; the same key a second time creates none. Without one, what got no answer is sent once more. */
    async add(body: NewTask, key?: string): Promise<Task> {
      const header = { "Idempotency-Key": key ?? newKey() };
      const post = async () => (await checked(http.POST("/api/tasks", { params: { header }, body }))).data;
      return post().catch((error) => {
        if (key === undefined && isUnreachable(error)) return post();
        throw error;
      });
    },

    /** Change a task, if it still has the version given; otherwise the error's code is PRECONDITION_FAILED. */
    async change(task: Known, body: TaskChanges): Promise<{ task: Task; seq: number | undefined }> {
      const { data, response } = await checked(http.PATCH("/api/tasks/{id}", { params: paramsOf(task), body }));
      return { task: data, seq: seqOf(response) };
    },

    /** Delete a task, if it still has the version given; no error if it is already gone. */
    async remove(task: Known): Promise<{ seq: number | undefined }> {
      return made(http.DELETE("/api/tasks/{id}", { params: paramsOf(task) })).catch((error) => {
        if (isGone(error)) return { seq: undefined };
        throw error;
      });
    },

    /** Change every task that filters find, of which there must be one at least. */
    async changeAll(filters: BulkFilters, body: ManyChanges): Promise<{ updated: number; seq: number | undefined }> {
      const { data, response } = await checked(http.PATCH("/api/tasks", { params: { query: filters }, body }));
      return { updated: data.updated, seq: seqOf(response) };
    },

    /** Delete every task that filters find. */
    async removeAll(filters: BulkFilters): Promise<{ deleted: number; seq: number | undefined }> {
      const { data, response } = await checked(http.DELETE("/api/tasks", { params: { query: filters } }));
      return { deleted: data.deleted, seq: seqOf(response) };
    },

    /** A page of what was done to a task, the newest first, and the cursor of the next page. */
    async history(id: string, cursor?: string, limit = 10) {
      const query = cursor ? { limit, cursor: Number(cursor) } : { limit };
      const { data, response } = await checked(
        http.GET("/api/tasks/{id}/history", { params: { path: { id }, query } }),
      );
      const user = tokens.user();
      const entries = data.map((entry): HistoryEntry => ({ ...entry, by: entry.by === user ? undefined : entry.by }));
      return { entries, next: nextOf(response) };
    },

    /** Take back all that one change did, unless something has changed since. A second time does nothing more. */
    async undo(seq: number): Promise<void> {
      await checked(http.POST("/api/changes/{seq}/undo", { params: { path: { seq } } }));
    },

    async tags(): Promise<Tag[]> {
      return (await checked(http.GET("/api/tags"))).data;
    },

    /** Rename a tag on every task; onto another one, the two become one. */
    async rename(tag: string, name: string): Promise<{ seq: number | undefined }> {
      return made(http.PATCH("/api/tags/{name}", { params: { path: { name: tag } }, body: { name } }));
    },

    /** Take a tag off every task. */
    async removeTag(name: string): Promise<{ seq: number | undefined }> {
      return made(http.DELETE("/api/tags/{name}", { params: { path: { name } } }));
    },

    /** All that the user has, as a file. `by` is another `fetch`, such as one that tells how much has come. */
    async exported(format: "json" | "csv" | "ics", by = ask): Promise<Blob> {
      const options = { params: { query: { format } }, parseAs: "blob" as const, fetch: sending(by) };
      return (await checked(http.GET("/api/export", options))).data;
    },

    /** Take an export back. `by` is another `fetch`, such as one that tells how much is sent. */
    async imported(file: Blob, by = ask): Promise<components["schemas"]["Imported"]> {
      const options = { body: file as never, bodySerializer: () => file, fetch: sending(by) };
      return (await checked(http.POST("/api/import", options))).data;
    },

    async color(name: string, color: string): Promise<void> {
      await checked(http.PUT("/api/tags/{name}", { params: { path: { name } }, body: { color } }));
    },
  };
  return api;
}

export type Api = ReturnType<typeof createApi>;
