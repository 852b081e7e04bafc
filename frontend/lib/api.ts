import createClient from "openapi-fetch";

import type { components, paths } from "./schema";
import { createTokens, SignedOutError, type Tokens } from "./token";
import { unreachable } from "./words";

export type Task = components["schemas"]["Task"];
export type NewTask = components["schemas"]["TaskCreate"];
export type TaskChanges = components["schemas"]["TaskUpdate"];
/** What was done to a task; by whom, if not by the user. */
export type HistoryEntry = Omit<components["schemas"]["HistoryEntry"], "by"> & { by: string | undefined };
export type Changes = components["schemas"]["ChangesPage"];
export type Tag = components["schemas"]["ListedTag"];
export type Filters = Omit<NonNullable<paths["/api/tasks"]["get"]["parameters"]["query"]>, "cursor" | "limit">;

const PAGE_SIZE = 50;
const HISTORY_PAGE_SIZE = 10;
const TIMEOUT_MS = 30_000; // longer than the API waits for its database
const UNREACHABLE = "UNREACHABLE";
const EVENTS = "text/event-stream";

/** A failure: a sentence for people, and the code for programs. */
export class ApiError extends Error {
  readonly code: string | undefined;

  constructor(message: string, code?: string) {
    super(message);
    this.code = code;
  }
}

export const isConflict = (error: unknown) => error instanceof ApiError && error.code === "PRECONDITION_FAILED";
export const isGone = (error: unknown) => error instanceof ApiError && error.code === "TASK_NOT_FOUND";
export const isChangedSince = (error: unknown) => error instanceof ApiError && error.code === "CHANGED_SINCE";
export const isNotKept = (error: unknown) => error instanceof ApiError && error.code === "CHANGES_NOT_KEPT";

/** Whether the same request may well be answered a little later. */
export const isPassing = (error: unknown) =>
  error instanceof ApiError &&
  [UNREACHABLE, "DATABASE_UNAVAILABLE", "AUTH_KEYS_UNAVAILABLE", "OVERLOADED", "RATE_LIMIT_EXCEEDED"].includes(
    error.code ?? "",
  );
export const isUnreachable = (error: unknown) => error instanceof ApiError && error.code === UNREACHABLE;

/** Return a `fetch` that sends the user's token, and retries once with a new token after a 401. */
function fetchWith(tokens: Tokens) {
  const send = async (request: Request): Promise<Response> => {
    request.headers.set("Authorization", `Bearer ${await tokens.get()}`);
    const isStream = request.headers.get("Accept") === EVENTS; // of /api/events: it stays open
    return fetch(request, { signal: isStream ? request.signal : AbortSignal.timeout(TIMEOUT_MS) });
  };
  return async (request: Request): Promise<Response> => {
    const again = request.clone();
    const response = await send(request);
    if (response.status !== 401) return response;
    tokens.forget();
    return send(again);
  };
}

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** Return the data and the response, or throw an ApiError (or SignedOutError). */
async function checked<T>(asked: Promise<Answer<T>>): Promise<{ data: T; response: Response }> {
  let answer: Answer<T>;
  try {
    answer = await asked;
  } catch (error) {
    if (error instanceof SignedOutError) throw error;
    throw new ApiError(unreachable(), UNREACHABLE);
  }
  const { data, error, response } = answer;
  if (response.ok) return { data: data as T, response };
  const problem = error as Partial<components["schemas"]["ProblemDetails"]> | undefined;
  const code = problem?.code ?? (response.status > 501 ? UNREACHABLE : undefined); // a proxy without the API
  throw new ApiError(problem?.detail ?? `The server answered ${response.status}.`, code);
}

/** The number of the change that was made, by which it can be undone. Undefined if nothing was changed. */
function seqOf(response: Response): number | undefined {
  const said = response.headers.get("Change");
  return said === null ? undefined : Number(said);
}

/** The cursor of the next page. */
const nextOf = (response: Response) => response.headers.get("Next-Cursor") ?? undefined;

const ifMatch = (task: Task) => ({ "If-Match": `"${task.version}"` });

/** Whether a task already has all values of a change. */
export function isMade(body: TaskChanges, task: Task): boolean {
  return (Object.keys(body) as (keyof TaskChanges)[]).every((name) =>
    name === "due_date" && body.due_date && task.due_date
      ? Date.parse(body.due_date) === Date.parse(task.due_date)
      : JSON.stringify(body[name]) === JSON.stringify(task[name]),
  );
}

/** Return a client for one user, with the functions that the app needs. Each throws ApiError or SignedOutError. */
export function createApi(baseUrl: string, userId: string) {
  const tokens = createTokens(userId);
  const send = fetchWith(tokens);
  let newest = 0;
  const client = createClient<paths>({
    baseUrl,
    async fetch(request) {
      const response = await send(request);
      newest = Math.max(newest, seqOf(response) ?? 0);
      return response;
    },
  });
  return {
    /** The number of the newest change that was made here. */
    newest: () => newest,

    /** Ask for a new token before the next request: the API has said that this one counts no longer. */
    forgetToken: tokens.forget,

    /** What is changed, as Server-Sent Events, after the last one that was read; at first from now on. */
    async events(lastEventId: string | undefined, signal: AbortSignal) {
      const header = lastEventId === undefined ? {} : { "Last-Event-ID": lastEventId };
      const options = { params: { header }, headers: { Accept: EVENTS }, parseAs: "stream" as const, signal };
      return (await checked(client.GET("/api/events", options))).data;
    },

    /** A page of tasks, and the cursor of the next page. */
    async list(filters: Filters, cursor: string | undefined) {
      const query = { ...filters, limit: PAGE_SIZE, ...(cursor ? { cursor } : {}) };
      const { data, response } = await checked(client.GET("/api/tasks", { params: { query } }));
      return { tasks: data, next: nextOf(response) };
    },

    async get(id: string): Promise<Task> {
      return (await checked(client.GET("/api/tasks/{id}", { params: { path: { id } } }))).data;
    },

    /** Create a task; the same key a second time creates none. */
    async add(body: NewTask, key: string): Promise<Task> {
      return (await checked(client.POST("/api/tasks", { params: { header: { "Idempotency-Key": key } }, body }))).data;
    },

    /** Change a task, if it still has the version given; otherwise the error's code is PRECONDITION_FAILED. */
    async change(task: Task, body: TaskChanges): Promise<{ task: Task; seq: number | undefined }> {
      const params = { path: { id: task.id }, header: ifMatch(task) };
      const { data, response } = await checked(client.PATCH("/api/tasks/{id}", { params, body }));
      return { task: data, seq: seqOf(response) };
    },

    /** Delete a task, if it still has the version given; no error if it is already gone. */
    async remove(task: Task): Promise<{ seq: number | undefined }> {
      const params = { path: { id: task.id }, header: ifMatch(task) };
      try {
        return { seq: seqOf((await checked(client.DELETE("/api/tasks/{id}", { params }))).response) };
      } catch (error) {
        if (isGone(error)) return { seq: undefined };
        throw error;
      }
    },

    async removeCompleted(): Promise<{ deleted: number; seq: number | undefined }> {
      const query = { status: ["completed" as const] };
      const { data, response } = await checked(client.DELETE("/api/tasks", { params: { query } }));
      return { deleted: data.deleted, seq: seqOf(response) };
    },

    /** A page of what was done to a task, the newest first, and the cursor of the next page. */
    async history(id: string, cursor: string | undefined) {
      const query = { limit: HISTORY_PAGE_SIZE, ...(cursor ? { cursor: Number(cursor) } : {}) };
      const asked = client.GET("/api/tasks/{id}/history", { params: { path: { id }, query } });
      const { data, response } = await checked(asked);
      const entries = data.map((entry): HistoryEntry => ({ ...entry, by: entry.by === userId ? undefined : entry.by }));
      return { entries, next: nextOf(response) };
    },

    /** Take back all that one change did, unless something has changed since. A second time does nothing more. */
    async undo(seq: number): Promise<void> {
      await checked(client.POST("/api/changes/{seq}/undo", { params: { path: { seq } } }));
    },

    async tags(): Promise<Tag[]> {
      return (await checked(client.GET("/api/tags"))).data;
    },

    /** Rename a tag on every task; onto another one, the two become one. */
    async rename(tag: string, name: string): Promise<{ seq: number | undefined }> {
      const asked = client.PATCH("/api/tags/{name}", { params: { path: { name: tag } }, body: { name } });
      return { seq: seqOf((await checked(asked)).response) };
    },

    /** Take a tag off every task. */
    async removeTag(name: string): Promise<{ seq: number | undefined }> {
      const asked = client.DELETE("/api/tags/{name}", { params: { path: { name } } });
      return { seq: seqOf((await checked(asked)).response) };
    },

    async color(name: string, color: string): Promise<void> {
      await checked(client.PUT("/api/tags/{name}", { params: { path: { name } }, body: { color } }));
    },
  };
}

export type Api = ReturnType<typeof createApi>;
