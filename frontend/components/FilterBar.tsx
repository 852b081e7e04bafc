"use client";

import { type RefObject, useEffect, useState } from "react";

import type { Filters } from "@/lib/api";
import { useColor, useRemoveCompleted, useTags } from "@/lib/tasks";

import { Notice } from "./Notice";

const NO_COLOR = "#808080";
const SEARCH_DELAY_MS = 250;

interface Props {
  filters: Filters;
  setFilters: (change: (filters: Filters) => Filters) => void;
  searchField: RefObject<HTMLInputElement | null>;
}

export function FilterBar({ filters, setFilters, searchField }: Props) {
  const tags = useTags();
  const color = useColor();
  const removeCompleted = useRemoveCompleted();
  const [asking, setAsking] = useState(false);
  const [search, setSearch] = useState("");

  const set = (change: Partial<Record<keyof Filters, unknown>>) =>
    setFilters((before) => {
      const entries = Object.entries({ ...before, ...change });
      return Object.fromEntries(entries.filter(([, value]) => value !== undefined && value !== "")) as Filters;
    });

  useEffect(() => {
    const timer = setTimeout(() => set({ q: search }), SEARCH_DELAY_MS);
    return () => clearTimeout(timer);
  }, [search]);

  const chosen = filters.tag ?? [];
  const toggle = (name: string) => {
    const names = chosen.includes(name) ? chosen.filter((each) => each !== name) : [...chosen, name];
    set({ tag: names.length ? names : undefined });
  };

  return (
    <section aria-label="Filters" className="filters">
      <div className="line">
        <input
          ref={searchField}
          type="search"
          aria-label="Search"
          placeholder="Search"
          maxLength={200}
          value={search}
          onChange={(event) => setSearch(event.target.value)}
        />
        <select aria-label="Status" onChange={(event) => set({ status: event.target.value && [event.target.value] })}>
          <option value="">any status</option>
          <option value="pending">pending</option>
          <option value="in_progress">in progress</option>
          <option value="completed">completed</option>
        </select>
        <select
          aria-label="Priority"
          onChange={(event) => set({ priority: event.target.value && [event.target.value] })}
        >
          <option value="">any priority</option>
          <option value="high">high</option>
          <option value="medium">medium</option>
          <option value="low">low</option>
        </select>
        <select aria-label="Sort" onChange={(event) => set({ sort: event.target.value })}>
          <option value="">newest first</option>
          <option value="due_date">by due date</option>
          <option value="-priority">by priority</option>
          <option value="title">by title</option>
          <option value="-updated_at">last changed first</option>
        </select>
        <button type="button" onClick={() => setAsking(true)}>
          Delete completed
        </button>
      </div>
      {tags.data && tags.data.length > 0 && (
        <ul className="tags" aria-label="Tags">
          {tags.data.map((tag) => (
            <li key={tag.name}>
              <input
                type="color"
                aria-label={`Colour of ${tag.name}`}
                value={tag.color ?? NO_COLOR}
                onChange={(event) => color.mutate({ name: tag.name, color: event.target.value })}
              />
              <button type="button" aria-pressed={chosen.includes(tag.name)} onClick={() => toggle(tag.name)}>
                {tag.name} <small>{tag.tasks}</small>
              </button>
            </li>
          ))}
        </ul>
      )}
      {asking && (
        <div className="notice" role="alertdialog" aria-label="Delete completed tasks">
          <span>Delete every completed task, shown here or not?</span>
          {/* biome-ignore lint/a11y/noAutofocus: who asked is answered where they are */}
          <button type="button" autoFocus onClick={() => setAsking(false)}>
            Keep them
          </button>
          <button
            className="danger"
            type="button"
            disabled={removeCompleted.isPending}
            onClick={() => removeCompleted.mutate(undefined, { onSettled: () => setAsking(false) })}
          >
            Delete
          </button>
        </div>
      )}
      {removeCompleted.error && <Notice error={removeCompleted.error} retry={() => removeCompleted.mutate()} />}
      {color.error && <Notice error={color.error} />}
    </section>
  );
}
