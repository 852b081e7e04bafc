"use client";

import { QueryClientProvider } from "@tanstack/react-query";
import { CopyCheck, LogOut, SlidersHorizontal, UserRound } from "lucide-react";
import dynamic from "next/dynamic";
import { usePathname, useRouter, useSearchParams } from "next/navigation";
import {
  type KeyboardEvent,
  type ReactNode,
  useCallback,
  useEffect,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";
import { flushSync } from "react-dom";

import { keep } from "@/lib/keep";
import { KEYS, useKeys } from "@/lib/keys";
import { createLive } from "@/lib/live";
import { createOutbox, unsentOf } from "@/lib/outbox";
import { createSync } from "@/lib/sync";
import { AppProvider, createQueries, type Done } from "@/lib/tasks";
import { useToday } from "@/lib/today";
import { apiFor } from "@/lib/token";
import { refine, viewAt } from "@/lib/views";
import { problemOf, waitInWords } from "@/lib/words";

import { Brand } from "./Brand";
import { ConnectionStatus } from "./ConnectionStatus";
import { Dialog } from "./Dialog";
import { NewTask } from "./NewTask";
import { Notice } from "./Notice";
import type { Picked } from "./Selection";
import { TagsPage } from "./TagsPage";
import { TaskList } from "./TaskList";
import { Toolbar } from "./Toolbar";
import { UndoNotice } from "./UndoNotice";
import { ViewLink, Views } from "./Views";

const AccountPage = dynamic(() => import("./AccountPage").then((module) => module.AccountPage));

const Palette = dynamic(() => import("./Palette").then((loaded) => loaded.Palette), { ssr: false });

/** One user's tasks, in the view that the address says. */
export function TasksPage({ user, apiUrl }: { user: { id: string; name: string; email: string }; apiUrl: string }) {
  const router = useRouter();
  const [api] = useState(() => apiFor(user.id, apiUrl));
  const [queries] = useState(() => createQueries(leave));
  useState(() =>
    createOutbox(
      queries,
      api,
      (done) => setDone(done),
      (words) => say(words),
    ),
  );
  const [live] = useState(() => createLive(api, { ...createSync(queries, api), onSignedOut: leave }));
  const connection = useSyncExternalStore(live.subscribe, live.connection, live.connection);
  const path = usePathname();
  const search = useSearchParams();
  const today = useToday();
  const view = viewAt(path);
  const [problem, setProblem] = useState("");
  const [done, setDone] = useState<Done>();
  const [unsent, setUnsent] = useState(0); // what a sign-out would lose
  const kept = useRef<ReturnType<typeof keep>>(undefined);
  const forget = useCallback(() => setDone(undefined), []);
  const [heard, setHeard] = useState<ReactNode>();
  // With a key, so that the same words are heard again.
  const say = useCallback((words: string) => setHeard(<span key={performance.now()}>{words}</span>), []);
  const [dialog, setDialog] = useState<"keys" | "find">();
  // On a phone, where the filters are folded unless one hides tasks.
  const [isFiltering, setFiltering] = useState(search.has("q") || search.has("priority"));
  const [picked, setPicked] = useState<Picked>();
  const keys = useRef<HTMLDialogElement>(null);
  const title = useRef<HTMLInputElement>(null);
  const searchField = useRef<HTMLInputElement>(null);

  function leave() {
    kept.current?.hide();
    router.replace("/sign-in");
    router.refresh();
  }

  /** Let go of a field, so that the keys are those of the list again. */
  function onKey({ key, target, nativeEvent }: KeyboardEvent<HTMLElement>) {
    const field = target as HTMLElement;
    if (key === "Escape" && !nativeEvent.isComposing && field.closest(".new, .filters")) field.blur();
  }

  async function signOut(isSure = false) {
    const left = unsentOf(queries);
    setUnsent(isSure ? 0 : left);
    if (left && !isSure) return;
    const found = await problemOf(import("@/lib/auth-client").then(({ authClient }) => authClient.signOut()));
    setProblem(found);
    if (found) return;
    await kept.current?.erase();
    leave();
  }

  useEffect(() => {
    kept.current = keep(queries, user.id, leave);
    return kept.current.stop;
  }, [queries, user.id]);

  useEffect(() => setPicked(undefined), [path]);

  function find() {
    flushSync(() => setFiltering(true));
    searchField.current?.focus();
  }

  const commands = {
    "New task": () => title.current?.focus(),
    ...(view && { Search: find, "Select tasks": () => setPicked(new Set()) }),
    "All keys": () => setDialog("keys"),
    "Sign out": () => signOut(),
  };
  useKeys({ n: commands["New task"], "[Shift]+/": find, "[Shift]+?": commands["All keys"] });
  useKeys({ "Control+k": () => setDialog("find"), "Meta+k": () => setDialog("find") }, () => false);

  return (
    <QueryClientProvider client={queries}>
      <AppProvider value={{ api, userId: user.id, offerUndo: setDone, say }}>
        <header>
          <Brand />
          <span className="who">
            <ViewLink path="/account">
              <UserRound aria-hidden /> {user.name}
            </ViewLink>
          </span>
          <button className="quiet" type="button" onClick={() => signOut()}>
            <LogOut aria-hidden /> Sign out
          </button>
        </header>
        <Views />
        <main onKeyDown={onKey}>
          {unsent > 0 && (
            <Notice actions={{ Stay: () => setUnsent(0), "Sign out": () => signOut(true) }}>
              {waitInWords(unsent)} If you sign out now, that is lost.
            </Notice>
          )}
          {problem && (
            <Notice actions={{ "Try again": () => signOut(true) }}>You are still signed in. {problem}</Notice>
          )}
          <div className="line head">
            <h1>{view?.name ?? (path === "/account" ? "My account" : "Tags")}</h1>
            {view && (
              <>
                <button
                  className="quiet fold"
                  type="button"
                  aria-expanded={isFiltering}
                  onClick={() => setFiltering(!isFiltering)}
                >
                  <SlidersHorizontal aria-hidden /> Filter
                </button>
                <button
                  className="quiet"
                  type="button"
                  aria-pressed={Boolean(picked)}
                  onClick={() => setPicked(picked ? undefined : new Set())}
                >
                  <CopyCheck aria-hidden /> Select
                </button>
              </>
            )}
          </div>
          {view ? (
            <>
              {path !== "/completed" && <NewTask titleField={title} adds={view.adds?.(today) ?? {}} />}
              <Toolbar key={`bar ${path}`} searchField={searchField} isOpen={isFiltering} />
              <TaskList
                key={`list ${path}`}
                view={view}
                filters={refine(view.filters(today), search)}
                today={today}
                {...{ picked, setPicked }}
              />
            </>
          ) : path === "/account" ? (
            <AccountPage user={user} apiUrl={apiUrl} forget={async () => kept.current?.erase()} />
          ) : (
            <TagsPage />
          )}
          <div className="toasts">
            <ConnectionStatus isLost={connection === "lost"} />
            <UndoNotice done={done} close={forget} />
          </div>
          <p role="status" className="heard">
            {heard}
          </p>
        </main>
        <footer>
          <kbd>n</kbd> new task <kbd>/</kbd> search <kbd>Ctrl K</kbd> find <kbd>Ctrl Z</kbd> undo
          <button className="quiet" type="button" onClick={commands["All keys"]}>
            <kbd>?</kbd> all keys
          </button>
        </footer>
        {dialog === "keys" && (
          <Dialog ref={keys} label="Keys" onClose={() => setDialog(undefined)}>
            {Object.entries(KEYS).map(([key, words]) => (
              <p key={key} className="key">
                {words} <kbd>{key}</kbd>
              </p>
            ))}
          </Dialog>
        )}
        {dialog === "find" && <Palette commands={commands} onClose={() => setDialog(undefined)} />}
      </AppProvider>
    </QueryClientProvider>
  );
}
