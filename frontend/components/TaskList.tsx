"use client";

import { ListTodo, SearchX } from "lucide-react";
import { useEffect, useRef } from "react";

import type { Filters } from "@/lib/api";
import { useTags, useTasks } from "@/lib/tasks";
import { SignedOutError } from "@/lib/token";

import { Notice } from "./Notice";
import { TaskRow } from "./TaskRow";

export function TaskList({ filters }: { filters: Filters }) {
  const { data, error, isPending, isPlaceholderData, hasNextPage, isFetchingNextPage, fetchNextPage, refetch } =
    useTasks(filters);
  const colors = new Map(useTags().data?.map((tag) => [tag.name, tag.color]));
  const end = useRef<HTMLButtonElement>(null);

  useEffect(() => {
    if (!end.current || !hasNextPage || isFetchingNextPage || error) return;
    const seen = new IntersectionObserver(([entry]) => entry?.isIntersecting && fetchNextPage(), {
      rootMargin: "400px",
    });
    seen.observe(end.current);
    return () => seen.disconnect();
  }, [hasNextPage, isFetchingNextPage, error, fetchNextPage]);

  const isFiltered = Object.keys(filters).some((name) => name !== "sort");
  const tasks = data?.pages.flatMap((page) => page.tasks) ?? [];
  return (
    <section aria-label="Tasks" aria-busy={isPending || isPlaceholderData}>
      {error && !(error instanceof SignedOutError) && (
        <Notice actions={{ "Try again": () => (data && hasNextPage ? fetchNextPage() : refetch()) }}>
          {error.message}
        </Notice>
      )}
      {isPending && <div className="card skeleton" role="status" aria-label="Loading …" />}
      {data && tasks.length === 0 && (
        <div className="empty">
          {isFiltered ? <SearchX aria-hidden /> : <ListTodo aria-hidden />}
          <p>{isFiltered ? "No task is like that." : "Nothing to do. Add your first task above."}</p>
        </div>
      )}
      {tasks.length > 0 && (
        <ul className="card tasks">
          {tasks.map((task) => (
            <TaskRow key={task.id} task={task} colors={colors} />
          ))}
        </ul>
      )}
      {hasNextPage && (
        <button ref={end} className="more" type="button" disabled={isFetchingNextPage} onClick={() => fetchNextPage()}>
          {isFetchingNextPage ? "Loading …" : "More tasks"}
        </button>
      )}
    </section>
  );
}
