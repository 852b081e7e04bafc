import { Command } from "cmdk";
import { useEffect, useRef, useState } from "react";

import { useTags, useTasks } from "@/lib/tasks";
import { pathOfTag, VIEWS } from "@/lib/views";

import { Dialog } from "./Dialog";
import { go } from "./Views";

const SEARCH_DELAY_MS = 200;
const SHOWN = 8;

/** Finds a command, a view or a task; without words, the tasks that were changed last. */
export function Palette({ commands, onClose }: { commands: Record<string, () => void>; onClose: () => void }) {
  const [text, setText] = useState("");
  const [q, setQ] = useState("");
  const tasks = useTasks(q ? { q } : { sort: "-updated_at" }).data?.pages[0]?.tasks.slice(0, SHOWN) ?? [];
  const tags = useTags().data ?? [];
  const dialog = useRef<HTMLDialogElement>(null);

  useEffect(() => {
    const timer = setTimeout(() => setQ(text.trim()), SEARCH_DELAY_MS);
    return () => clearTimeout(timer);
  }, [text]);

  function choose(act: () => void) {
    dialog.current?.close(); // first, because it gives the focus back
    act();
  }

  const item = (key: string, words: string, act: () => void, isFound = false) => (
    <Command.Item key={key} value={key} keywords={[words]} forceMount={isFound} onSelect={() => choose(act)}>
      {words}
    </Command.Item>
  );
  return (
    <Dialog ref={dialog} label="Find" onClose={onClose}>
      <Command label="Find" loop>
        <Command.Input value={text} onValueChange={setText} maxLength={200} placeholder="A command, a view or a task" />
        <Command.List label="Found">
          <Command.Group heading="Commands">
            {Object.entries(commands).map(([words, act]) => item(`do ${words}`, words, act))}
          </Command.Group>
          <Command.Group heading="Views">
            {VIEWS.map(({ path, name }) => item(`go ${path}`, name, () => go(path)))}
            {tags.map(({ name }) => item(`tag ${name}`, `#${name}`, () => go(pathOfTag(name))))}
          </Command.Group>
          {/* Found by the API, which knows of accents and descriptions. */}
          {tasks.length > 0 && (
            <Command.Group heading="Tasks" forceMount>
              {tasks.map(({ id, title }) =>
                item(id, title, () => go(`/all?${new URLSearchParams({ completed: "1", q: title })}`), true),
              )}
            </Command.Group>
          )}
        </Command.List>
      </Command>
    </Dialog>
  );
}
