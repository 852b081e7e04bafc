"use client";

import { Calendar, CircleDashed, Flag, Repeat, Trash2 } from "lucide-react";
import { type FormEvent, type KeyboardEvent, useEffect, useRef, useState } from "react";

import { ApiError, type Task, type TaskChanges } from "@/lib/api";
import { readable } from "@/lib/dates";
import { useChange, useLookUp, useRemove } from "@/lib/tasks";
import { changesInWords, ruleInWords } from "@/lib/words";

import { Notice } from "./Notice";
import { changedFields, readFields, TaskFields } from "./TaskFields";

const isConflict = (error: Error | null) => error instanceof ApiError && error.code === "PRECONDITION_FAILED";

export function TaskRow({ task, colors }: { task: Task; colors: Map<string, string | null> }) {
  const change = useChange();
  const remove = useRemove();
  const lookUp = useLookUp();
  // The task as it was when editing began: a list that is fetched anew meanwhile must not make an old form look current.
  const [editing, setEditing] = useState<Task>();
  const form = useRef<HTMLFormElement>(null);
  const said = useRef<TaskChanges>({});
  const row = useRef<HTMLLIElement>(null);
  const titleButton = useRef<HTMLButtonElement>(null);
  const theirs = isConflict(change.error) ? lookUp.data : undefined;

  useEffect(() => {
    if (!editing || !form.current) return;
    said.current = readFields(form.current);
    return () => titleButton.current?.focus(); // who has finished goes on where they began
  }, [editing]);

  function make(seen: Task, body: TaskChanges, onSuccess?: () => void) {
    lookUp.reset();
    change.mutate(
      { task: seen, body },
      { ...(onSuccess && { onSuccess }), onError: (error) => isConflict(error) && lookUp.mutate(task.id) },
    );
  }

  function close() {
    setEditing(undefined);
    change.reset();
  }

  function save(seen: Task, event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    // Only what was changed: of a due date the form shows no seconds, and no offset but the browser's.
    make(seen, changedFields(event.currentTarget, said.current), close);
  }

  function removeIt() {
    if (remove.isPending) return;
    const next = row.current?.nextElementSibling ?? row.current?.previousElementSibling;
    // Who works with the keyboard goes on with the task beside it.
    remove.mutateAsync(task).then(
      () => next?.querySelector<HTMLElement>(".title")?.focus(),
      () => undefined, // it is shown
    );
  }

  const completed = task.status === "completed";
  const isLate = task.due_date && !completed && new Date(task.due_date) < new Date();
  const mine = change.variables;
  return (
    <li ref={row} className={completed ? "task completed" : "task"}>
      {editing ? (
        <form
          ref={form}
          onSubmit={(event) => save(editing, event)}
          onKeyDown={(event: KeyboardEvent) => event.key === "Escape" && close()}
        >
          {/* biome-ignore lint/a11y/noAutofocus: who asked to edit goes on there */}
          <input name="title" aria-label="Title" defaultValue={editing.title} maxLength={200} required autoFocus />
          <TaskFields task={editing} />
          <div className="line">
            <button className="primary" type="submit" disabled={change.isPending}>
              Save
            </button>
            <button type="button" onClick={close}>
              Cancel
            </button>
          </div>
        </form>
      ) : (
        <div className="line">
          <input
            type="checkbox"
            className={task.priority}
            aria-label={`${task.title} is completed`}
            checked={completed}
            onChange={() => change.isPending || make(task, { status: completed ? "pending" : "completed" })}
          />
          <div className="what">
            <button ref={titleButton} className="title" type="button" title="Edit" onClick={() => setEditing(task)}>
              {task.title}
            </button>
            {task.description && <p>{task.description}</p>}
            <p className="facts">
              {task.priority !== "medium" && (
                <span className={task.priority}>
                  <Flag aria-hidden /> {task.priority} priority
                </span>
              )}
              {task.status === "in_progress" && (
                <span>
                  <CircleDashed aria-hidden /> in progress
                </span>
              )}
              {task.due_date && (
                <time dateTime={task.due_date} className={isLate ? "late" : ""}>
                  <Calendar aria-hidden /> {isLate ? "was due" : "due"} {readable(task.due_date)}
                </time>
              )}
              {task.recurrence_rule && (
                <span>
                  <Repeat aria-hidden /> repeats {ruleInWords(task.recurrence_rule)}
                </span>
              )}
              {task.tags.map((name) => (
                <span key={name} className="tag" style={{ "--color": colors.get(name) ?? undefined } as object}>
                  {name}
                </span>
              ))}
            </p>
          </div>
          <button className="quiet delete" type="button" aria-label={`Delete ${task.title}`} onClick={removeIt}>
            <Trash2 aria-hidden />
          </button>
        </div>
      )}
      {theirs && mine && (
        <Notice actions={{ "Keep theirs": close, "Keep mine": () => make(theirs, mine.body, close) }}>
          This task was changed meanwhile: {changesInWords(mine.task, theirs)}. Which one shall it be?
        </Notice>
      )}
      {change.error && mine && !theirs && !lookUp.isPending && (
        <Notice actions={{ "Try again": () => make(mine.task, mine.body, close) }}>
          {(lookUp.error ?? change.error).message}
        </Notice>
      )}
      {remove.error && <Notice actions={{ "Try again": removeIt }}>{remove.error.message}</Notice>}
    </li>
  );
}
