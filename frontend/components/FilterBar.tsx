"use client";

import { Search } from "lucide-react";
import { type RefObject, useEffect, useRef, useState } from "react";

import type { Filters, Tag } from "@/lib/api";
import { useColor, useRemoveCompleted, useTags } from "@/lib/tasks";
import { PRIORITIES, SORTS, STATUSES } from "@/lib/words";

import { Notice } from "./Notice";
import { Options } from "./Options";

const NO_COLOR = "#808080";
const SEARCH_DELAY_MS = 250;

interface ColorFieldProps {
  tag: Tag;
  failure: Error | null;
  choose: (color: string) => void;
}

/** A tag's colour. React's onChange fires for each shade under the mouse, this listener only for the final choice. */
function ColorField({ tag, failure, choose }: ColorFieldProps) {
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const element = field.current;
    const onChange = () => element && choose(element.value);
    element?.addEventListener("change", onChange);
    return () => element?.removeEventListener("change", onChange);
  }, [choose]);
  // After a failure, show the saved colour again.
  useEffect(() => {
    if (field.current) field.current.value = tag.color ?? NO_COLOR;
  }, [tag.color, failure]);
  return <input ref={field} type="color" aria-label={`Colour of ${tag.name}`} defaultValue={tag.color ?? NO_COLOR} />;
}

interface Props {
  filters: Filters;
  setFilters: (change: (filters: Filters) => Filters) => void;
  searchField: RefObject<HTMLInputElement | null>;
}

export function FilterBar({ filters, setFilters, searchField }: Props) {
  const tags = useTags();
  const color = useColor();
  const removeCompleted = useRemoveCompleted();
  const question = useRef<HTMLDialogElement>(null);
  const [search, setSearch] = useState("");

  const set = (change: Partial<Record<keyof Filters, unknown>>) =>
    setFilters((before) => {
      const entries = Object.entries({ ...before, ...change });
      return Object.fromEntries(entries.filter(([, value]) => value !== undefined && value !== "")) as Filters;
    });

  useEffect(() => {
    const timer = setTimeout(() => set({ q: search.trim() }), SEARCH_DELAY_MS);
    return () => clearTimeout(timer);
  }, [search]);

  const chosen = filters.tag ?? [];
  // Include chosen tags that no task has any more, or nobody could unselect them.
  const gone = chosen.filter((name) => !tags.data?.some((tag) => tag.name === name));
  const shown: Tag[] = [...(tags.data ?? []), ...gone.map((name) => ({ name, color: null, tasks: 0 }))];
  const toggle = (name: string) => {
    const names = chosen.includes(name) ? chosen.filter((each) => each !== name) : [...chosen, name];
    set({ tag: names.length ? names : undefined });
  };

  return (
    <section aria-label="Filters" className="filters">
      <div className="line">
        <fieldset className="segments" aria-label="Status">
          {Object.entries({ "": "All", ...STATUSES }).map(([value, words]) => (
            <label key={value}>
              <input
                type="radio"
                name="status"
                checked={value === (filters.status?.[0] ?? "")}
                onChange={() => set({ status: value && [value] })}
              />
              {words}
            </label>
          ))}
        </fieldset>
        <div className="search">
          <Search aria-hidden />
          <input
            ref={searchField}
            type="search"
            aria-label="Search"
            placeholder="Search"
            maxLength={200}
            value={search}
            onChange={(event) => setSearch(event.target.value)}
          />
        </div>
      </div>
      <div className="line">
        <select aria-label="Sort" value={filters.sort ?? ""} onChange={(event) => set({ sort: event.target.value })}>
          <Options of={SORTS} />
        </select>
        <select
          aria-label="Priority"
          value={filters.priority?.[0] ?? ""}
          onChange={(event) => set({ priority: event.target.value && [event.target.value] })}
        >
          <Options of={{ "": "Any priority", ...PRIORITIES }} />
        </select>
        <button className="quiet" type="button" onClick={() => question.current?.showModal()}>
          Delete completed
        </button>
      </div>
      {shown.length > 0 && (
        <ul className="tags" aria-label="Tags">
          {shown.map((tag) => (
            <li key={tag.name}>
              <ColorField
                tag={tag}
                failure={color.error}
                choose={(chosen) => color.mutate({ name: tag.name, color: chosen })}
              />
              <button type="button" aria-pressed={chosen.includes(tag.name)} onClick={() => toggle(tag.name)}>
                {tag.name} <small>{tag.tasks}</small>
              </button>
            </li>
          ))}
        </ul>
      )}
      <dialog ref={question} aria-label="Delete completed tasks">
        <p>Delete every completed task, shown here or not?</p>
        <div className="line">
          <button type="button" onClick={() => question.current?.close()}>
            Keep them
          </button>
          <button
            className="danger"
            type="button"
            disabled={removeCompleted.isPending}
            onClick={() => removeCompleted.mutate(undefined, { onSettled: () => question.current?.close() })}
          >
            Delete
          </button>
        </div>
      </dialog>
      {removeCompleted.error && (
        <Notice actions={{ "Try again": () => removeCompleted.mutate() }}>{removeCompleted.error.message}</Notice>
      )}
      {color.error && <Notice>{color.error.message}</Notice>}
    </section>
  );
}
