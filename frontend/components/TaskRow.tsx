"use client";

import { isConflict, isGone, type Task, type TaskChanges } from "better-tasks-client";
import { Calendar, CircleDashed, Flag, Repeat, Trash2 } from "lucide-react";
import { type KeyboardEvent, useEffect, useLayoutEffect, useRef, useState } from "react";
import { endOf, readable } from "@/lib/dates";
import { isMade, useChange, useLookUp, useRemove } from "@/lib/tasks";
import { changesInWords, ruleInWords } from "@/lib/words";

import { History } from "./History";
import { Notice } from "./Notice";
import { changedFields, readFields, TaskFields } from "./TaskFields";

interface Props {
  task: Task;
  colors: Map<string, string | null>;
  hold: (id: string, task: Task | undefined) => void;
  tabIndex: 0 | -1;
  isPicked: boolean | undefined; // undefined while none can be
  pick: () => void;
}

export function TaskRow({ task, colors, hold, tabIndex, isPicked, pick }: Props) {
  const change = useChange();
  const remove = useRemove();
  const lookUp = useLookUp();
  // The task as it was when editing began: a refetched list must not make an outdated form look current.
  const [editing, setEditing] = useState<Task>();
  const [unsaved, setUnsaved] = useState<{ task: Task; typed: TaskChanges }>(); // what Esc has closed
  const form = useRef<HTMLFormElement>(null);
  const said = useRef<TaskChanges>({});
  const row = useRef<HTMLLIElement>(null);
  const titleButton = useRef<HTMLButtonElement>(null);
  const mine = change.variables;
  const now = lookUp.data;
  const error = lookUp.error ?? change.error ?? remove.error;
  // One change at a time: a second one would name a version that the first has just replaced.
  const isBusy = change.isPending || remove.isPending || lookUp.isPending;
  const isEditing = Boolean(editing);
  const isHeld = Boolean(isEditing || isBusy || error || unsaved);

  useEffect(() => hold(task.id, isHeld ? task : undefined), [hold, isHeld, task]);

  useEffect(() => {
    if (!isEditing || !form.current) return;
    if (!unsaved) said.current = readFields(form.current);
    // Return the focus to where editing began, unless it has moved elsewhere.
    return () => {
      if (document.activeElement === document.body) titleButton.current?.focus();
    };
  }, [isEditing]);

  useLayoutEffect(() => {
    const element = row.current;
    return () => {
      if (!element?.contains(document.activeElement)) return;
      // Keep keyboard users in the list: focus the task next to the one that disappears.
      const rows = [...(element.parentElement?.querySelectorAll(":scope > .task") ?? [])];
      const place = rows.indexOf(element);
      (rows[place + 1] ?? rows[place - 1])?.querySelector<HTMLElement>(".title")?.focus();
    };
  }, []);

  function close() {
    setEditing(undefined);
    setUnsaved(undefined);
    for (const mutation of [change, remove, lookUp]) mutation.reset();
  }

  /** Close the form, and keep what was typed. */
  function leave() {
    const typed = form.current ? changedFields(form.current, said.current) : {};
    close();
    if (editing && Object.keys(typed).length) setUnsaved({ task: editing, typed });
  }

  function make(seen: Task, body: TaskChanges) {
    if (isBusy) return;
    remove.reset();
    lookUp.reset();
    function onFound(found: Task) {
      if (isMade(body, found))
        close(); // our change was made, but its answer was lost
      else if (!changesInWords(seen, found)) make(found, body); // no visible difference: try again
    }
    const onError = (refusal: Error) => isConflict(refusal) && lookUp.mutate(task.id, { onSuccess: onFound });
    // If the form was opened meanwhile, it continues from the new version.
    const goOn = ({ task: made }: { task: Task }) =>
      setEditing((opened) => opened && { ...opened, version: made.version });
    change.mutate({ task: seen, body }, { onSuccess: isEditing ? close : goOn, onError });
  }

  /** Send the current content of the form, or without a form, the same change again. */
  function save(seen: Task, sent: TaskChanges = {}) {
    if (form.current && !form.current.reportValidity()) return;
    // Only changed fields: the form shows a due date without seconds, and in the browser's offset.
    make(seen, form.current ? changedFields(form.current, said.current) : sent);
  }

  function removeIt() {
    if (isBusy) return;
    change.reset();
    lookUp.reset();
    const onError = (refusal: Error) => isConflict(refusal) && lookUp.mutate(task.id);
    remove.mutate(now && now.version > task.version ? now : task, { onError });
  }

  function notice() {
    const goOn = () => setEditing(unsaved?.task);
    if (unsaved && !isEditing)
      return <Notice actions={{ "Go on": goOn, Discard: close }}>What you typed is not saved yet.</Notice>;
    if (isBusy || !error) return null;
    if (isGone(error)) return <Notice actions={{ Close: close }}>This task was deleted meanwhile.</Notice>;
    if (isConflict(error) && now && mine)
      return (
        <Notice asks actions={{ "Keep theirs": close, "Keep mine": () => save(now, mine.body) }}>
          This task was changed meanwhile: {changesInWords(mine.task, now)}. Which one shall it be?
        </Notice>
      );
    if (isConflict(error) && now)
      return (
        <Notice asks actions={{ "Keep it": close, "Delete it": removeIt }}>
          This task was changed meanwhile, and is not deleted.
        </Notice>
      );
    const again = mine ? () => save(mine.task, mine.body) : removeIt;
    return <Notice actions={{ Close: close, "Try again": again }}>{error.message}</Notice>;
  }

  const completed = task.status === "completed";
  const complete = () => make(task, { status: completed ? "pending" : "completed" });
  const isLate = task.due_date && !completed && endOf(task.due_date) < new Date();
  return (
    <li ref={row} data-id={task.id} className={`task${completed ? " completed" : ""}${isPicked ? " picked" : ""}`}>
      {editing ? (
        <form
          ref={form}
          onSubmit={(event) => {
            event.preventDefault();
            save(editing);
          }}
          onKeyDown={(event: KeyboardEvent) =>
            event.key === "Escape" && !event.nativeEvent.isComposing && !isBusy && leave()
          }
        >
          <input
            name="title"
            dir="auto"
            aria-label="Title"
            defaultValue={unsaved?.typed.title ?? editing.title}
            maxLength={200}
            required
            // biome-ignore lint/a11y/noAutofocus: the user asked to edit
            autoFocus
          />
          <TaskFields task={{ ...editing, ...(unsaved?.typed as Partial<Task>) }} />
          <div className="line">
            <button className="primary" type="submit" disabled={isBusy}>
              Save
            </button>
            <button type="button" disabled={isBusy} onClick={close}>
              Cancel
            </button>
          </div>
          <History id={task.id} />
        </form>
      ) : (
        <div className="line">
          {/* One checkbox for both, so that it keeps the focus. */}
          <label>
            <input
              type="checkbox"
              className={isPicked === undefined ? `done ${task.priority}` : "pick"}
              aria-label={isPicked === undefined ? `${task.title} is completed` : `Select ${task.title}`}
              checked={isPicked ?? completed}
              tabIndex={tabIndex}
              onChange={isPicked === undefined ? complete : pick}
            />
          </label>
          <div className="what">
            <button
              ref={titleButton}
              className="title"
              dir="auto"
              type="button"
              title="Edit"
              tabIndex={tabIndex}
              onClick={() => setEditing(unsaved?.task ?? task)}
            >
              {task.title}
            </button>
            {task.description && <p dir="auto">{task.description}</p>}
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
          <button
            className="quiet delete"
            type="button"
            aria-label={`Delete ${task.title}`}
            tabIndex={tabIndex}
            onClick={removeIt}
          >
            <Trash2 aria-hidden />
          </button>
        </div>
      )}
      {notice()}
    </li>
  );
}
