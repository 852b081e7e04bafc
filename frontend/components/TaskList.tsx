"use client";

import { defaultRangeExtractor, useWindowVirtualizer } from "@tanstack/react-virtual";
import { type Filters, isUnreachable, type Task } from "better-tasks-client";
import { ListTodo, SearchX } from "lucide-react";
import { useCallback, useEffect, useRef, useState } from "react";

import { Conflict, isOf, keyOf, latest, useSent, withAdded, withChanges } from "@/lib/outbox";
import { useTags, useTasks } from "@/lib/tasks";
import { SignedOutError } from "@/lib/token";
import type { View } from "@/lib/views";

import { Notice } from "./Notice";
import { type Picked, Selection, toggled } from "./Selection";
import { TaskRow } from "./TaskRow";

const ROW_PX = 66; // until a row is there and can be measured

/** Add the held tasks that are not listed any more, each below the task that it was below. */
function withHeld(listed: Map<string, Task>, held: ReadonlyMap<string, Task>, shown: Task[]): Task[] {
  const tasks = [...listed.values()];
  for (const [id, task] of held) {
    if (listed.has(latest(task).id)) continue;
    const place = shown.findIndex((each) => each.id === id);
    const neighbour = shown.slice(0, Math.max(place, 0)).findLast((each) => listed.has(each.id));
    tasks.splice(tasks.findIndex((each) => each.id === neighbour?.id) + 1, 0, task);
  }
  return tasks;
}

interface Props {
  view: View;
  filters: Filters;
  today: string;
  picked: Picked;
  setPicked: (picked: Picked) => void;
}

export function TaskList({ view, filters, today, picked, setPicked }: Props) {
  const { data, error, isPending, isPlaceholderData, isFetching, refetch, errorUpdatedAt, ...next } = useTasks(filters);
  const { hasNextPage, fetchNextPage, isFetchingNextPage, isFetchNextPageError } = next;
  const colors = new Map(useTags().data?.map((tag) => [tag.name, tag.color]));
  const sent = useSent();
  const [entered, setEntered] = useState<string>(); // the task that had the focus last: Tab leads to it
  const end = useRef<HTMLButtonElement>(null);
  const list = useRef<HTMLUListElement>(null);
  // Tasks being edited or with a notice stay visible, even if a filter or another change removes them from the list.
  const [held, setHeld] = useState<ReadonlyMap<string, Task>>(new Map());
  const hold = useCallback((id: string, task: Task | undefined) => {
    setHeld((before) => {
      if (before.get(id) === task) return before;
      const others = [...before].filter(([each]) => each !== id);
      return new Map(task ? [...others, [id, task]] : others);
    });
  }, []);

  useEffect(() => {
    // Fetching a page during a refetch of the list would cancel the refetch.
    if (!end.current || !hasNextPage || isFetching || error) return;
    const seen = new IntersectionObserver(([entry]) => entry?.isIntersecting && fetchNextPage(), {
      rootMargin: "400px",
    });
    seen.observe(end.current);
    return () => seen.disconnect();
  }, [hasNextPage, isFetching, error, fetchNextPage]);

  const isFiltered = Boolean(filters.q || filters.priority);
  const isHere = (task: Task) => view.has?.(task, today) ?? true;
  const found = withAdded(data?.pages.flatMap(({ tasks }) => tasks) ?? [], filters, sent).filter(isHere);
  const listed = new Map(found.map((task) => [task.id, task]));
  // A refused change asks for an answer wherever its task is listed.
  const asking = sent.flatMap(({ status, error, variables }): [string, Task][] => {
    if (status !== "error" || !variables || !("task" in variables)) return [];
    const task = latest(error instanceof Conflict ? error.found : variables.task);
    return [[task.id, task]];
  });
  const isInItsOrder = filters.sort === view.filters(today).sort;
  const headingOf = (task: Task) => (isInItsOrder ? view.heading?.(task, today) : undefined);
  const shown = useRef<Task[]>([]);
  const kept = new Map([...asking, ...held]);
  const tasks = withHeld(listed, kept, shown.current).flatMap((task) => {
    const changes = sent.filter((each) => isOf(task, each));
    return withChanges(task, changes) ? { task, changes } : [];
  });
  useEffect(() => {
    shown.current = tasks.map(({ task }) => task);
  });
  const current = Math.max(
    0,
    tasks.findIndex(({ task }) => task.id === entered),
  );
  const top = list.current?.offsetTop ?? 0;
  const { getVirtualItems, getTotalSize, measureElement } = useWindowVirtualizer({
    count: tasks.length,
    estimateSize: () => ROW_PX,
    overscan: 10,
    scrollMargin: top,
    getItemKey: (place) => keyOf((tasks[place] as (typeof tasks)[0]).task),
    // Besides what is in view, the row that Tab leads to with the two beside it, and those that must not be lost.
    rangeExtractor: (range) => {
      const others = tasks.flatMap(({ task }, place) => (kept.has(task.id) ? place : []));
      const near = [current - 1, current, current + 1].filter((place) => place in tasks);
      return [...new Set([...defaultRangeExtractor(range), ...near, ...others])].sort((one, other) => one - other);
    },
  });
  const rows = getVirtualItems();
  const counted = `${tasks.length}${hasNextPage ? " and more" : ""} ${tasks.length === 1 ? "task" : "tasks"} found.`;
  return (
    <section aria-label="Tasks" aria-busy={isPending || isPlaceholderData}>
      {error && !(error instanceof SignedOutError) && !(data && isUnreachable(error)) && (
        <Notice
          key={errorUpdatedAt}
          actions={{ "Try again": () => (isFetchNextPageError ? fetchNextPage() : refetch()) }}
        >
          {error.message}
        </Notice>
      )}
      <p role="status" className="heard">
        {isFiltered && data && !isPlaceholderData && counted}
      </p>
      {isPending && <div className="card skeleton" role="status" aria-label="Loading …" />}
      {data && tasks.length === 0 && (
        <div className="empty">
          {isFiltered ? <SearchX aria-hidden /> : <ListTodo aria-hidden />}
          <p>{isFiltered ? "No task is like that." : view.empty}</p>
        </div>
      )}
      {tasks.length > 0 && (
        <ul
          ref={list}
          className="card tasks"
          style={{ paddingBottom: getTotalSize() - (rows.at(-1)?.end ?? top) + top }}
          onFocus={({ target }) => setEntered(target.closest<HTMLElement>(".task")?.dataset.id)}
        >
          {rows.map(({ key, index, start }, nth) => {
            const { task, changes } = tasks[index] as (typeof tasks)[0];
            const [before, heading] = [tasks[index - 1]?.task, headingOf(task)];
            return (
              <li
                key={key}
                ref={measureElement}
                data-index={index}
                aria-setsize={hasNextPage ? -1 : tasks.length}
                aria-posinset={index + 1}
                style={{ marginTop: start - (rows[nth - 1]?.end ?? top) }}
              >
                {heading && (!before || headingOf(before) !== heading) && (
                  <h2 className={heading === "Overdue" ? "overdue" : ""}>{heading}</h2>
                )}
                <TaskRow
                  listed={task}
                  sent={changes}
                  colors={colors}
                  hold={hold}
                  tabIndex={index === current ? 0 : -1}
                  isPicked={picked?.has(task.id)}
                  pick={() => setPicked(toggled(picked, task.id))}
                />
              </li>
            );
          })}
        </ul>
      )}
      <Selection
        tasks={tasks.flatMap(({ task }) => (task.user_id ? task : []))}
        picked={picked}
        setPicked={setPicked}
      />
      {hasNextPage && (
        <button ref={end} className="more" type="button" disabled={isFetching} onClick={() => fetchNextPage()}>
          {isFetchingNextPage ? "Loading …" : "More tasks"}
        </button>
      )}
    </section>
  );
}
