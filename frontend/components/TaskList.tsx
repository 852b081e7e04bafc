"use client";

import { useEffect, useRef } from "react";

import type { Filters } from "@/lib/api";
import { useTags, useTasks } from "@/lib/tasks";
import { SignedOutError } from "@/lib/token";

import { Notice } from "./Notice";
import { TaskRow } from "./TaskRow";

export function TaskList({ filters }: { filters: Filters }) {
  const { data, error, isPending, hasNextPage, isFetchingNextPage, fetchNextPage, refetch } = useTasks(filters);
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

  const tasks = data?.pages.flatMap((page) => page.tasks) ?? [];
  return (
    <section aria-label="Tasks" aria-busy={isPending}>
      {error && !(error instanceof SignedOutError) && (
        <Notice error={error} retry={() => (data && hasNextPage ? fetchNextPage() : refetch())} />
      )}
      {isPending && <p className="hint">Loading …</p>}
      {data && tasks.length === 0 && (
        <p className="hint">
          {Object.keys(filters).length ? "No task is like that." : "Nothing to do. Add your first task above."}
        </p>
      )}
      <ul className="tasks">
        {tasks.map((task) => (
          <TaskRow key={task.id} task={task} colors={colors} />
        ))}
      </ul>
      {hasNextPage && (
        <button ref={end} type="button" disabled={isFetchingNextPage} onClick={() => fetchNextPage()}>
          {isFetchingNextPage ? "Loading …" : "More tasks"}
        </button>
      )}
    </section>
  );
}
