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
import { createContext, useContext } from "react";

import type { Api, Filters, Task } from "./api";
import { SignedOutError } from "./token";

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
  isReady: boolean; // queries wait until changes are followed, so that none is missed between the two
  offerUndo: (done: Done) => void;
}

const AppContext = createContext<App | undefined>(undefined);
export const AppProvider = AppContext.Provider;

export function useApp(): App {
  const app = useContext(AppContext);
  if (!app) throw new Error("There is no AppProvider around this");
  return app;
}

export type Pages = InfiniteData<{ tasks: Task[]; next: string | undefined }>;

/** The newer version of a task: an answer and an event can overtake each other. */
export const newer = (shown: Task, task: Task) => (task.version < shown.version ? shown : task);

/** Change a task in every cached list; null removes it. */
export function show(queries: QueryClient, id: string, change: (task: Task) => Task | null): void {
  queries.setQueriesData<Pages>({ queryKey: ["tasks"] }, (pages) => {
    if (!pages) return pages;
    const changed = (tasks: Task[]) => tasks.flatMap((task) => (task.id === id ? (change(task) ?? []) : task));
    return { ...pages, pages: pages.pages.map((page) => ({ ...page, tasks: changed(page.tasks) })) };
  });
}

export function useTasks(filters: Filters) {
  const { api, isReady } = useApp();
  return useInfiniteQuery({
    enabled: isReady,
    queryKey: ["tasks", filters],
    queryFn: ({ pageParam }) => api.list(filters, pageParam),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next,
    placeholderData: keepPreviousData,
  });
}

export function useTags() {
  const { api, isReady } = useApp();
  return useQuery({ enabled: isReady, queryKey: ["tags"], queryFn: () => api.tags() });
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
    mutationFn: () => api.removeCompleted(),
    onSuccess({ deleted, seq }) {
      if (seq) offerUndo({ words: `${deleted} completed ${deleted === 1 ? "task was" : "tasks were"} deleted.`, seq });
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
