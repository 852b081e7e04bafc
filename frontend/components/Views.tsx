"use client";

import { Tags } from "lucide-react";
import { usePathname } from "next/navigation";
import type { MouseEvent, ReactNode } from "react";

import { useTags } from "@/lib/tasks";
import { pathOfTag, VIEWS } from "@/lib/views";

/** Change the address, and fetch no new page: all views are one. */
export function go(path: string): void {
  history.pushState(null, "", path);
  scrollTo(0, 0);
}

/** A link to a view. */
export function ViewLink({ path, children }: { path: string; children: ReactNode }) {
  const isHere = usePathname() === path;
  function follow(event: MouseEvent) {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    isHere ? scrollTo(0, 0) : go(path);
  }
  return (
    <a href={path} aria-current={isHere ? "page" : undefined} onClick={follow}>
      {children}
    </a>
  );
}

/** The views, and each tag as one. */
export function Views() {
  const tags = useTags();
  return (
    <nav aria-label="Views">
      <ul>
        {VIEWS.map(({ path, name, icon: Icon }) => (
          <li key={path}>
            <ViewLink path={path}>
              {Icon && <Icon aria-hidden />} {name}
            </ViewLink>
          </li>
        ))}
        <li>
          <ViewLink path="/tags">
            <Tags aria-hidden /> Tags
          </ViewLink>
        </li>
      </ul>
      {tags.data && tags.data.length > 0 && (
        <ul className="of-tags" aria-label="Tags">
          {tags.data.map((tag) => (
            <li key={tag.name}>
              <ViewLink path={pathOfTag(tag.name)}>
                <span className="dot" style={{ "--color": tag.color ?? undefined } as object} aria-hidden />
                <span className="name">{tag.name}</span>
              </ViewLink>
            </li>
          ))}
        </ul>
      )}
    </nav>
  );
}
