import {
  type InfiniteData,
  keepPreviousData,
  MutationCache,
  QueryCache,
  QueryClient,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { createContext, useContext } from "react";

import { type Api, type Filters, isGone, type NewTask, type Task, type TaskChanges } from "./api";
import { SignedOutError } from "./token";

/** Return the cache of what the API has: all of it is fetched again once the last of the changes under way has ended. */
export function createQueries(onSignedOut: () => void): QueryClient {
  const onError = (error: Error) => error instanceof SignedOutError && onSignedOut();
  // Later, when this one has ended too: of two that end together, each would leave it to the other.
  const onSettled = () => {
    setTimeout(() => queries.isMutating() || queries.invalidateQueries());
  };
  const queries: QueryClient = new QueryClient({
    queryCache: new QueryCache({ onError }),
    mutationCache: new MutationCache({ onError, onSettled }),
    // Whether the browser believes it is online says little: ask, and say what came of it.
    defaultOptions: {
      queries: { networkMode: "always", retry: false, staleTime: 10_000 },
      mutations: { networkMode: "always", retry: false },
    },
  });
  return queries;
}

const ApiContext = createContext<Api | undefined>(undefined);
export const ApiProvider = ApiContext.Provider;

function useApi(): Api {
  const api = useContext(ApiContext);
  if (!api) throw new Error("There is no ApiProvider around this");
  return api;
}

type Pages = InfiniteData<{ tasks: Task[]; next: string | undefined }>;

/** Show a change of one task in every list that is there, before the API has made it; null removes it. */
function show(queries: QueryClient, id: string, change: (task: Task) => Task | null): void {
  queries.setQueriesData<Pages>({ queryKey: ["tasks"] }, (pages) => {
    if (!pages) return pages;
    const changed = (tasks: Task[]) => tasks.flatMap((task) => (task.id === id ? (change(task) ?? []) : task));
    return { ...pages, pages: pages.pages.map((page) => ({ ...page, tasks: changed(page.tasks) })) };
  });
}

export function useTasks(filters: Filters) {
  const api = useApi();
  return useInfiniteQuery({
    queryKey: ["tasks", filters],
    queryFn: ({ pageParam }) => api.list(filters, pageParam),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next,
    placeholderData: keepPreviousData,
  });
}

export function useTags() {
  const api = useApi();
  return useQuery({ queryKey: ["tags"], queryFn: () => api.tags() });
}

export function useAdd() {
  const api = useApi();
  return useMutation({ mutationFn: ({ body, key }: { body: NewTask; key: string }) => api.add(body, key) });
}

interface Change {
  task: Task; // as it was seen: the API refuses the change of a version that is no longer there
  body: TaskChanges;
}

/** Change a task: shown at once, and taken back if the API does not make it. */
export function useChange() {
  const api = useApi();
  const queries = useQueryClient();
  return useMutation({
    mutationFn: ({ task, body }: Change) => api.change(task, body),
    async onMutate({ task, body }) {
      await queries.cancelQueries({ queryKey: ["tasks"] });
      show(queries, task.id, (shown) => ({ ...shown, ...(body as Partial<Task>) }));
    },
    onError: (error, { task }) => show(queries, task.id, () => (isGone(error) ? null : task)),
    onSuccess: (changed) => show(queries, changed.id, () => changed),
  });
}

export function useRemove() {
  const api = useApi();
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (task: Task) => api.remove(task),
    onSuccess: (_nothing, task) => show(queries, task.id, () => null),
  });
}

export function useRemoveCompleted() {
  const api = useApi();
  return useMutation({ mutationFn: () => api.removeCompleted() });
}

export function useColor() {
  const api = useApi();
  return useMutation({
    mutationFn: ({ name, color }: { name: string; color: string }) => api.color(name, color),
  });
}

/** The task as it is by now, for who wanted to change what it was. */
export function useLookUp() {
  const api = useApi();
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => api.get(id),
    onSuccess: (task) => show(queries, task.id, () => task),
  });
}
