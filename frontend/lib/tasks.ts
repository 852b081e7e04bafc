import {
  type InfiniteData,
  keepPreviousData,
  type QueryClient,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { createContext, useContext } from "react";

import { type Api, type Filters, isGone, type NewTask, type Task, type TaskChanges } from "./api";

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

/** Have the lists fetched again, once the last of the changes under way has ended. */
function useRefresh(): () => void {
  const queries = useQueryClient();
  return () => {
    // Later, when this one has ended too: of two that end together, each would leave it to the other.
    setTimeout(() => {
      if (queries.isMutating()) return;
      queries.invalidateQueries({ queryKey: ["tasks"] });
      queries.invalidateQueries({ queryKey: ["tags"] });
    });
  };
}

export function useAdd() {
  const api = useApi();
  const onSettled = useRefresh();
  return useMutation({ mutationFn: ({ body, key }: { body: NewTask; key: string }) => api.add(body, key), onSettled });
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
    onSettled: useRefresh(),
  });
}

export function useRemove() {
  const api = useApi();
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (task: Task) => api.remove(task),
    onSuccess: (_nothing, task) => show(queries, task.id, () => null),
    onSettled: useRefresh(),
  });
}

export function useRemoveCompleted() {
  const api = useApi();
  return useMutation({ mutationFn: () => api.removeCompleted(), onSettled: useRefresh() });
}

export function useColor() {
  const api = useApi();
  return useMutation({
    mutationFn: ({ name, color }: { name: string; color: string }) => api.color(name, color),
    onSettled: useRefresh(),
  });
}

/** The task as it is by now, for who wanted to change what it was. */
export function useLookUp() {
  const api = useApi();
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => api.get(id),
    onSuccess: (task) => show(queries, task.id, () => task),
    onSettled: useRefresh(),
  });
}
