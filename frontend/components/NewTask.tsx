"use client";

import { Plus } from "lucide-react";
import { type FormEvent, type RefObject, useRef, useState } from "react";

import type { NewTask as NewTaskBody, Task } from "@/lib/api";
import { useAdd } from "@/lib/tasks";

import { Notice } from "./Notice";
import { readFields, TaskFields } from "./TaskFields";

interface Adding {
  body: NewTaskBody;
  key: string; // the same key on a retry, so that a lost answer does not create the task twice
  form: FormData;
  problem?: string;
}

interface Props {
  titleField: RefObject<HTMLInputElement | null>;
  adds: Partial<NewTaskBody>; // what it has unless the form says otherwise
}

export function NewTask({ titleField, adds }: Props) {
  const add = useAdd();
  const [open, setOpen] = useState(false);
  const [failed, setFailed] = useState<Adding[]>([]);
  const form = useRef<HTMLFormElement>(null);
  const edited = useRef<Adding>(undefined);

  const drop = ({ key }: Adding) => setFailed((before) => before.filter((each) => each.key !== key));

  function send(adding: Adding) {
    drop(adding);
    add
      .mutateAsync(adding)
      .catch((error: Error) => setFailed((before) => [...before, { ...adding, problem: error.message }]));
  }

  /** The content of the form, with the key of its last attempt if nothing has changed since. */
  function read(element: HTMLFormElement): Adding {
    const body = readFields(element) as NewTaskBody;
    const before = edited.current;
    const isSame = before && JSON.stringify(before.body) === JSON.stringify(body);
    return { body, key: isSame ? before.key : crypto.randomUUID(), form: new FormData(element) };
  }

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    send(read(event.currentTarget));
    // Clear the form for the next task at once, however long the answer takes.
    edited.current = undefined;
    event.currentTarget.reset();
    titleField.current?.focus();
  }

  function edit(adding: Adding) {
    const element = form.current;
    if (!element) return;
    const present = read(element);
    drop(adding);
    if (present.body.title) setFailed((before) => [...before, { ...present, problem: "You were writing it." }]);
    edited.current = adding;
    setOpen(true);
    for (const [name, text] of adding.form) {
      const field = element.elements.namedItem(name);
      if (field && "value" in field) field.value = String(text);
    }
    titleField.current?.focus();
  }

  return (
    <>
      <form ref={form} className="card new" onSubmit={submit}>
        <div className="line">
          <Plus aria-hidden />
          <input
            ref={titleField}
            name="title"
            dir="auto"
            aria-label="New task"
            placeholder="What is to be done?"
            maxLength={200}
            required
          />
          <button className="quiet" type="button" aria-expanded={open} onClick={() => setOpen(!open)}>
            {open ? "Less" : "More"}
          </button>
          <button className="primary" type="submit">
            Add
          </button>
        </div>
        <div hidden={!open}>
          <TaskFields key={JSON.stringify(adds)} task={adds as Partial<Task>} />
        </div>
      </form>
      {failed.map((adding) => (
        <Notice key={adding.key} actions={{ Edit: () => edit(adding), "Try again": () => send(adding) }}>
          “{adding.body.title}” was not added. {adding.problem}
        </Notice>
      ))}
    </>
  );
}
