import {
  type InfiniteData,
  keepPreviousData,
  MutationCache,
  QueryCache,
  QueryClient,
  useInfiniteQuery,
  useMutation,
  useQuery,
} from "@tanstack/react-query";
import type { Api, Filters, ManyChanges, Task, TaskChanges } from "better-tasks-client";
import { createContext, useContext } from "react";
import { SignedOutError } from "./token";

const PAGE_SIZE = 50;
const NEXT_SIZE = 500; // so that a long list is fetched again in few requests

/** Return the cache of the API's data. Everything is fetched again when the last pending change has ended. */
export function createQueries(onSignedOut: () => void): QueryClient {
  const onError = (error: Error) => error instanceof SignedOutError && onSignedOut();
  // Check later, when this change no longer counts as pending: two that end together would each wait for the other.
  const onSettled = (...[, error, , , mutation]: Parameters<NonNullable<MutationCache["config"]["onSettled"]>>) => {
    setTimeout(() => {
      if (!error) queries.getMutationCache().remove(mutation);
      return queries.isMutating() || queries.invalidateQueries();
    });
  };
  const queries: QueryClient = new QueryClient({
    queryCache: new QueryCache({ onError }),
    mutationCache: new MutationCache({ onError, onSettled }),
    // The browser's online state is unreliable: send the request, and report how it went.
    defaultOptions: {
      queries: { networkMode: "always", retry: false, staleTime: 10_000, refetchOnWindowFocus: false },
      mutations: { networkMode: "always", retry: false },
    },
  });
  return queries;
}

/** What was done, in a sentence, and the number by which it can be undone. */
export interface Done {
  words: string;
  seq: number;
}

interface App {
  api: Api;
  userId: string;
  offerUndo: (done: Done) => void;
  say: (words: string) => void; // to those who hear the page
}

const AppContext = createContext<App | undefined>(undefined);
export const AppProvider = AppContext.Provider;

export function useApp(): App {
  const app = useContext(AppContext);
  if (!app) throw new Error("There is no AppProvider around this");
  return app;
}

export type Pages = InfiniteData<{ tasks: Task[]; next: string | undefined }>;

/** Whether a task already has all values of a change. */
export function isMade(body: TaskChanges, task: Task): boolean {
  return (Object.keys(body) as (keyof TaskChanges)[]).every((name) =>
    name === "due_date" && body.due_date && task.due_date
      ? Date.parse(body.due_date) === Date.parse(task.due_date)
      : JSON.stringify(body[name]) === JSON.stringify(task[name]),
  );
}

/** The newer version of a task: an answer and an event can overtake each other. */
export const newer = (shown: Task, task: Task) => (task.version < shown.version ? shown : task);

/** Change a task in every cached list; null removes it. */
export function show(queries: QueryClient, id: string, change: (task: Task) => Task | null): void {
  queries.setQueriesData<Pages>({ queryKey: ["tasks"] }, (pages) => {
    // Else a list that is to be fetched again would count as fetched.
    if (!pages?.pages.some(({ tasks }) => tasks.some((task) => task.id === id))) return undefined;
    const changed = (tasks: Task[]) => tasks.flatMap((task) => (task.id === id ? (change(task) ?? []) : task));
    return { ...pages, pages: pages.pages.map((page) => ({ ...page, tasks: changed(page.tasks) })) };
  });
}

export function useTasks(filters: Filters) {
  const { api } = useApp();
  return useInfiniteQuery({
    queryKey: ["tasks", filters],
    queryFn: ({ pageParam }) => api.list({ ...filters, limit: pageParam ? NEXT_SIZE : PAGE_SIZE }, pageParam),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next,
    placeholderData: keepPreviousData,
  });
}

export function useTags() {
  const { api } = useApp();
  return useQuery({ queryKey: ["tags"], queryFn: () => api.tags() });
}

export function useHistory(id: string) {
  const { api } = useApp();
  return useInfiniteQuery({
    queryKey: ["history", id],
    queryFn: ({ pageParam }) => api.history(id, pageParam),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next,
  });
}

export function useRemoveCompleted() {
  const { api, offerUndo } = useApp();
  return useMutation({
    mutationFn: () => api.removeAll({ status: ["completed"] }),
    onSuccess({ deleted, seq }) {
      if (seq) offerUndo({ words: `${deleted} completed ${deleted === 1 ? "task was" : "tasks were"} deleted.`, seq });
    },
  });
}

/** Change tasks in one request; without a body, delete them. */
export function useMany() {
  const { api, offerUndo } = useApp();
  return useMutation({
    mutationFn: ({ tasks, body }: { tasks: Task[]; body: ManyChanges | undefined }) =>
      body
        ? api.changeAll({ id: tasks.map(({ id }) => id) }, body).then(({ updated, seq }) => ({ count: updated, seq }))
        : api.removeAll({ id: tasks.map(({ id }) => id) }).then(({ deleted, seq }) => ({ count: deleted, seq })),
    onSuccess({ count, seq }, { tasks, body }) {
      const [only, ...others] = tasks.map(({ title }) => `“${title}” was`);
      const some = count < tasks.length ? `${count} of ${tasks.length} tasks were` : `${count} tasks were`;
      const done = body ? (body.status === "completed" ? "completed" : "changed") : "deleted";
      if (seq) offerUndo({ words: `${others.length ? some : only} ${done}.`, seq });
    },
  });
}

/** Take back all that one change did. */
export function useUndo() {
  const { api } = useApp();
  return useMutation({ mutationFn: (seq: number) => api.undo(seq) });
}

export function useColor() {
  const { api } = useApp();
  return useMutation({
    mutationFn: ({ name, color }: { name: string; color: string }) => api.color(name, color),
  });
}

/** Rename a tag; onto another one, the two become one. */
export function useRename() {
  const { api, offerUndo } = useApp();
  return useMutation({
    mutationFn: ({ tag, name }: { tag: string; name: string }) => api.rename(tag, name),
    onSuccess({ seq }, { tag, name }) {
      if (seq) offerUndo({ words: `“${tag}” is “${name}” now.`, seq });
    },
  });
}

export function useRemoveTag() {
  const { api, offerUndo } = useApp();
  return useMutation({
    mutationFn: (name: string) => api.removeTag(name),
    onSuccess({ seq }, name) {
      if (seq) offerUndo({ words: `The tag “${name}” was deleted.`, seq });
    },
  });
}
