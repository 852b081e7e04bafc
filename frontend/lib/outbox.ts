import {
  type Mutation,
  type MutationState,
  onlineManager,
  type QueryClient,
  useMutation,
  useMutationState,
  useQueryClient,
} from "@tanstack/react-query";

import {
  type Api,
  ApiError,
  type Filters,
  isConflict,
  isGone,
  isPassing,
  type NewTask,
  type Task,
  type TaskChanges,
} from "better-tasks-client";
import { type Done, isMade, newer, type Pages, show } from "./tasks";
import { changesInWords } from "./words";

const LONGEST_DELAY_MS = 30_000;
const ADD = ["outbox", "add"];
const CHANGE = ["outbox", "change"];
const REMOVE = ["outbox", "remove"];

/** A new task; its key makes that it is made once, and is its id until it has one. */
export interface Adding {
  body: NewTask;
  key: string;
  form: [name: string, text: string][];
}

export interface Change {
  task: Task; // as the user saw it: the API refuses to change an outdated version
  body: TaskChanges;
}

/** What was sent, waits to be sent, or was refused, in its order. */
export type Sent = MutationState<unknown, Error, Adding | Change | { task: Task }>;

/** The task has another version by now. */
export class Conflict extends ApiError {
  readonly found: Task;

  constructor(found: Task) {
    super("This task was changed meanwhile.", "PRECONDITION_FAILED");
    this.found = found;
  }
}

// Whether the API answers is found out by asking it: what a browser thinks of its network is often wrong.
onlineManager.setEventListener(() => undefined);
let failures = 0;
let retry: ReturnType<typeof setTimeout> | undefined;

/** Send what waits: the API answers. */
export function isBack(): void {
  failures = 0;
  onlineManager.setOnline(true);
}

function isAway(): void {
  onlineManager.setOnline(false);
  clearTimeout(retry);
  retry = setTimeout(() => onlineManager.setOnline(true), Math.min(1000 * 2 ** failures++, LONGEST_DELAY_MS));
}

const keys = new Map<string, string>();

/** What a task is called in a list: the same before and after it has its id. */
export const keyOf = ({ id }: Task) => keys.get(id) ?? id;

type Version = Pick<Task, "id" | "version">;
const successors = new Map<string, Version>();

/** A version that was seen here, or the one that our own changes have made of it. */
export function latest<T extends Version>(task: T): T {
  const next = successors.get(`${task.id} ${task.version}`);
  return next ? latest({ ...task, ...next }) : task;
}

function follow(before: Version, { id, version }: Version): void {
  if (id !== before.id || version !== before.version) successors.set(`${before.id} ${before.version}`, { id, version });
}

/** Keep the changes of tasks in a queue: each is sent once the one before has its answer, however long that takes. */
export function createOutbox(
  queries: QueryClient,
  api: Api,
  offerUndo: (done: Done) => void,
  say: (words: string) => void,
): void {
  /** Send a change. If there is another version by now, it is a conflict only if people see a difference. */
  async function sendChange(task: Task, body: TaskChanges): ReturnType<Api["change"]> {
    try {
      return await api.change(task, body);
    } catch (error) {
      if (!isConflict(error)) throw error;
      const found = await look(task);
      if (isMade(body, found)) return { task: found, seq: undefined }; // its answer was lost
      if (!changesInWords(task, found)) return sendChange(found, body);
      throw new Conflict(found);
    }
  }

  async function look({ id }: Task): Promise<Task> {
    const found = await api.get(id);
    show(queries, id, (shown) => newer(shown, found));
    return found;
  }

  const inOrder = {
    scope: { id: "outbox" },
    networkMode: "online" as const,
    gcTime: Number.POSITIVE_INFINITY,
    retryDelay: 0,
    retry(_: number, error: Error) {
      if (isPassing(error)) isAway();
      return isPassing(error);
    },
  };
  const onError = (error: Error, { task }: { task: Task }) =>
    isGone(error) && show(queries, latest(task).id, () => null);
  queries.setMutationDefaults<Task, Error, Adding>(ADD, {
    ...inOrder,
    mutationFn: ({ body, key }) => api.add(body, key),
    onSuccess(task, { key }) {
      const { id } = task;
      say(`“${task.title}” was added.`);
      keys.set(id, key);
      follow({ id: key, version: 1 }, { id, version: 1 });
      for (const [queryKey, pages] of queries.getQueriesData<Pages>({ queryKey: ["tasks"] })) {
        const [first, ...others] = pages?.pages ?? [];
        if (!first) continue;
        const tasks = insert(first.tasks, task, queryKey[1] as Filters);
        queries.setQueryData(queryKey, { ...pages, pages: [{ ...first, tasks }, ...others] });
      }
    },
  });
  queries.setMutationDefaults<Awaited<ReturnType<Api["change"]>>, Error, Change>(CHANGE, {
    ...inOrder,
    mutationFn: ({ task, body }) => sendChange(latest(task), body),
    onError,
    onSuccess({ task, seq }, { task: seen, body }) {
      follow(latest(seen), task);
      show(queries, task.id, (shown) => newer(shown, task));
      if (seq && body.status === "completed") offerUndo({ words: `“${task.title}” was completed.`, seq });
      else say(`“${task.title}” was ${body.status === "pending" ? "reopened" : "saved"}.`);
    },
  });
  queries.setMutationDefaults<{ seq: number | undefined }, Error, { task: Task }>(REMOVE, {
    ...inOrder,
    async mutationFn({ task }) {
      try {
        return await api.remove(latest(task));
      } catch (error) {
        throw isConflict(error) ? new Conflict(await look(latest(task))) : error;
      }
    },
    onError,
    onSuccess({ seq }, { task }) {
      show(queries, latest(task).id, () => null);
      if (seq) offerUndo({ words: `“${task.title}” was deleted.`, seq });
    },
  });
}

export const useAdd = () => useMutation<Task, Error, Adding>({ mutationKey: ADD });
export const useChange = () => useMutation<{ task: Task }, Error, Change>({ mutationKey: CHANGE });
export const useRemove = () => useMutation<unknown, Error, { task: Task }>({ mutationKey: REMOVE });

export const useSent = () => useMutationState<Sent>({ filters: { mutationKey: ["outbox"] } });

export const isUnsent = ({ options, state: { status } }: Mutation) =>
  options.mutationKey?.[0] === "outbox" && (status === "pending" || status === "error");
export const unsentOf = (queries: QueryClient) => queries.getMutationCache().findAll({ predicate: isUnsent }).length;

export const isOf = ({ id }: Task, { variables }: Sent) =>
  variables !== undefined && "task" in variables && latest(variables.task).id === id;

/** Forget a task's changes that were refused, or one of a new task. */
export function useForget() {
  const sent = useQueryClient().getMutationCache();
  return (isMeant: (sent: Sent) => boolean) => {
    for (const each of sent.findAll({ mutationKey: ["outbox"], status: "error" }))
      if (isMeant(each.state as Sent)) sent.remove(each);
  };
}

/** A task as it is once everything is sent; null if it is to be deleted. */
export function withChanges(task: Task, sent: Sent[]): Task | null {
  let shown: Task | null = task;
  for (const { status, variables } of sent)
    if (status === "pending" && shown)
      shown = variables && "body" in variables ? { ...shown, ...(variables.body as Partial<Task>) } : null;
  return shown;
}

const BLANK = {
  user_id: "", // by which it is known that it was not sent
  version: 1,
  description: null,
  status: "pending",
  priority: "medium",
  due_date: null,
  time_zone: null,
  recurrence_rule: null,
  completed_at: null,
  tags: [],
} satisfies Partial<Task>;

const dueOf = ({ due_date }: Task) => due_date ?? "none";

/** Put a new task into a list, if the list has such tasks: where the API will, as far as can be known here. */
function insert(tasks: Task[], task: Task, { q, status, priority, tag = [], sort }: Filters): Task[] {
  const isIn =
    !q &&
    (status?.includes(task.status) ?? true) &&
    (priority?.includes(task.priority) ?? true) &&
    tag.every((name) => task.tags.includes(name)) &&
    !tasks.some(({ id }) => id === task.id);
  const place = sort === "due_date" ? tasks.filter((each) => dueOf(each) <= dueOf(task)).length : 0;
  return isIn ? tasks.toSpliced(place, 0, task) : tasks;
}

/** A list with the tasks that were added here, and that the API does not have yet. */
export function withAdded(listed: Task[], filters: Filters, sent: Sent[]): Task[] {
  return sent.reduce((tasks, { variables, status, submittedAt }) => {
    if (status !== "pending" || !variables || !("key" in variables) || successors.has(`${variables.key} 1`))
      return tasks;
    const at = new Date(submittedAt).toISOString();
    const task = { ...BLANK, created_at: at, updated_at: at, id: variables.key, ...variables.body } as Task;
    return insert(tasks, task, filters);
  }, listed);
}
