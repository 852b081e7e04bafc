"use client";

import { Plus } from "lucide-react";
import { type FormEvent, type RefObject, useRef, useState } from "react";

import type { NewTask as NewTaskBody } from "@/lib/api";
import { useAdd } from "@/lib/tasks";

import { Notice } from "./Notice";
import { readFields, TaskFields } from "./TaskFields";

export function NewTask({ titleField }: { titleField: RefObject<HTMLInputElement | null> }) {
  const add = useAdd();
  const [open, setOpen] = useState(false);
  const form = useRef<HTMLFormElement>(null);
  // One key for what the form holds: sent again after an answer that did not arrive, it makes no second task.
  const [key, setKey] = useState(() => crypto.randomUUID());

  function submit(event?: FormEvent) {
    event?.preventDefault();
    const element = form.current;
    if (!element || add.isPending) return;
    add.mutate(
      { body: readFields(element) as NewTaskBody, key },
      {
        onSuccess() {
          element.reset();
          setKey(crypto.randomUUID());
          titleField.current?.focus();
        },
      },
    );
  }

  return (
    <form
      ref={form}
      className="card new"
      onSubmit={submit}
      onChange={() => !add.isPending && setKey(crypto.randomUUID())}
    >
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
        <button className="primary" type="submit" disabled={add.isPending}>
          Add
        </button>
      </div>
      {open && <TaskFields />}
      {add.error && <Notice actions={{ "Try again": submit }}>{add.error.message}</Notice>}
    </form>
  );
}
