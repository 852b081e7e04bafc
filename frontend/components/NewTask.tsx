"use client";

import { Plus } from "lucide-react";
import { type FormEvent, type RefObject, useRef, useState } from "react";

import type { NewTask as NewTaskBody } from "@/lib/api";
import { useAdd } from "@/lib/tasks";

import { Notice } from "./Notice";
import { readFields, TaskFields } from "./TaskFields";

interface Adding {
  body: NewTaskBody;
  key: string; // sent again with it after an answer that did not arrive, the task is not made twice
  form: FormData;
  problem?: string;
}

export function NewTask({ titleField }: { titleField: RefObject<HTMLInputElement | null> }) {
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

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const body = readFields(event.currentTarget) as NewTaskBody;
    const before = edited.current;
    const isSame = JSON.stringify(before?.body) === JSON.stringify(body);
    send({ body, key: before && isSame ? before.key : crypto.randomUUID(), form: new FormData(event.currentTarget) });
    // The form is free for the next one at once, however long the answer takes.
    edited.current = undefined;
    event.currentTarget.reset();
    titleField.current?.focus();
  }

  function edit(adding: Adding) {
    drop(adding);
    edited.current = adding;
    setOpen(true);
    for (const [name, text] of adding.form) {
      const field = form.current?.elements.namedItem(name);
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
          <TaskFields />
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
