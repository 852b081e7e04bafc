import { useQuery } from "@tanstack/react-query";
import { ApiError } from "better-tasks-client";
import { useRouter } from "next/navigation";
import { useState } from "react";

import { account, answerOf, browserOf, readSessions } from "@/lib/account";
import { readable } from "@/lib/dates";
import { useApp } from "@/lib/tasks";
import { withSession } from "@/lib/token";
import { telling } from "@/lib/transfer";
import { importProblem, sizeInWords } from "@/lib/words";

import { Field } from "./Field";
import { Options } from "./Options";
import { Part } from "./Part";

const LIVES = { 30: "in 30 days", 90: "in 90 days", 365: "in a year", "": "never" };
const FORMATS = { json: "JSON, to import again", csv: "CSV, for a spreadsheet", ics: "ICS, for a calendar" };
const DAY_SECONDS = 24 * 60 * 60;
const takeFocus = (element: HTMLElement | null) => element?.focus();
const when = (date: Date) => readable(date.toISOString());

interface Props {
  user: { name: string; email: string };
  apiUrl: string;
  forget: () => Promise<void>; // what is kept in this browser
}

/** All that belongs to a person and is no task. */
export function AccountPage({ user, apiUrl, forget }: Props) {
  const router = useRouter();
  async function rename({ name }: { name: string }) {
    await answerOf(account.updateUser({ name }));
    router.refresh();
    return `Your name is ${name} now.`;
  }
  return (
    <>
      <Part title="Name" about={`You sign in as ${user.email}.`} button="Save" act={rename}>
        <Field label="Name" name="name" autoComplete="name" defaultValue={user.name} />
      </Part>
      <Part title="Password" about="At least eight characters." button="Change password" act={changePassword}>
        <Field label="Present password" name="password" type="password" autoComplete="current-password" />
        <Field label="New password" name="next" type="password" autoComplete="new-password" minLength={8} />
        <label className="check">
          <input name="others" type="checkbox" defaultChecked /> Sign out everywhere else
        </label>
      </Part>
      <Sessions />
      <Keys apiUrl={apiUrl} />
      <Files />
      <Part
        title="Delete the account"
        about="Your account goes, and all your tasks with it, for good."
        button="Delete my account"
        look="danger"
        act={({ password }: { password: string }) => deleteAccount(password, forget)}
      >
        <Field label="Your password" name="password" type="password" autoComplete="current-password" />
      </Part>
    </>
  );
}

async function changePassword(said: { password: string; next: string; others: string }) {
  const passwords = { currentPassword: said.password, newPassword: said.next };
  const asked = { ...passwords, revokeOtherSessions: Boolean(said.others) };
  await withSession("exclusive", () => answerOf(account.changePassword(asked)));
  return `Your password is changed${said.others ? ", and you are signed out everywhere else" : ""}.`;
}

function deleteAccount(password: string, forget: Props["forget"]) {
  return withSession("exclusive", async () => {
    await answerOf(account.deleteUser({ password }));
    await forget();
    location.replace("/sign-in?deleted");
    return new Promise<string>(() => {}); // so that nothing else leads away before
  });
}

function Sessions() {
  const { data, error } = useQuery({ queryKey: ["sessions"], queryFn: readSessions });
  async function end({ row }: { row: string }) {
    const token = data?.find(({ id }) => id === row)?.token;
    await answerOf(token ? account.revokeSession({ token }) : account.revokeOtherSessions());
    return token ? "It is signed out." : "You are signed out everywhere else.";
  }
  const rows = data?.map(({ id, isHere, userAgent, updatedAt }) => {
    const about = isHere ? "this one" : `last used ${when(updatedAt)}`;
    return { id, name: browserOf(userAgent), about, button: !isHere && "Sign out" };
  });
  const about = "Each browser and each device counts.";
  const button = "Sign out everywhere else";
  return <Part title="Where you are signed in" about={about} button={button} act={end} rows={rows} unread={error} />;
}

function Keys({ apiUrl }: { apiUrl: string }) {
  const [made, setMade] = useState("");
  const { data, error } = useQuery({ queryKey: ["keys"], queryFn: () => answerOf(account.apiKey.list()) });
  async function makeOrDelete({ row, name, days }: { row: string; name: string; days: string }) {
    setMade("");
    if (row) {
      await answerOf(account.apiKey.delete({ keyId: row }));
      return "The key is deleted. Programs that have it are out.";
    }
    const expiresIn = days ? Number(days) * DAY_SECONDS : null;
    setMade((await answerOf(account.apiKey.create({ name, expiresIn }))).key);
    return "Copy the key now, below. It is not shown again.";
  }
  const rows = data?.apiKeys.map(({ id, name, start, lastRequest, expiresAt }) => {
    const used = lastRequest ? `last used ${when(lastRequest)}` : "never used";
    const about = `${start}… · ${used}${expiresAt ? ` · ends ${when(expiresAt)}` : ""}`;
    return { id, name: name ?? "", about, button: "Delete" };
  });
  const about = "For programs of your own. Who has one may do with your tasks all that you may.";
  // A command that gets an access token for the key, and the tasks with it.
  const usage = `TOKEN=$(curl -sf -H "x-api-key: ${made}" ${made && location.origin}/api/auth/token |
 sed 's/.*"token":"\\([^"]*\\)".*/\\1/') && curl -H "Authorization: Bearer $TOKEN" ${apiUrl}/api/tasks`;
  return (
    <>
      <Part title="API keys" about={about} button="Make a key" act={makeOrDelete} rows={rows} unread={error}>
        <Field label="What it is for" name="name" autoComplete="off" maxLength={32} />
        <label>
          Ends
          <select name="days">
            <Options of={LIVES} />
          </select>
        </label>
      </Part>
      {made && (
        <section key={made} className="card part" aria-label="Your new key">
          <Copied label="Your key" text={made} start={takeFocus} />
          <Copied label="How to use it, in one line" text={usage.replaceAll("\n", "")} />
        </section>
      )}
    </>
  );
}

function Copied({ label, text, start }: { label: string; text: string; start?: typeof takeFocus }) {
  const [words, setWords] = useState("Copy");
  async function copy() {
    const copied = navigator.clipboard.writeText(text).then(() => "Copied");
    setWords(await copied.catch(() => "Select it, and copy it"));
  }
  return (
    <form>
      <Field label={label} value={text} readOnly />
      <button ref={start} type="button" onClick={copy}>
        {words}
      </button>
    </form>
  );
}

function Files() {
  const { api } = useApp();
  async function save({ format }: { format: string }, tell: (words: string) => void) {
    const file = await api.exported(
      format as keyof typeof FORMATS,
      telling((bytes) => tell(`${sizeInWords(bytes)} so far.`)),
    );
    const link = document.createElement("a");
    Object.assign(link, { href: URL.createObjectURL(file), download: `tasks.${format}` }).click();
    URL.revokeObjectURL(link.href);
    return `${link.download} is made: ${sizeInWords(file.size)}.`;
  }
  async function read({ file }: { file: File }, tell: (words: string) => void) {
    const size = sizeInWords(file.size);
    const said = (bytes: number) =>
      tell(bytes < file.size ? `${sizeInWords(bytes)} of ${size} are sent.` : `All ${size} are sent. Please wait.`);
    const { tasks, tags } = await api.imported(file, telling(said)).catch((error) => {
      throw error instanceof ApiError ? new ApiError(importProblem(error)) : error;
    });
    return `New tasks: ${tasks}. New colours of tags: ${tags}. All else was there already.`;
  }
  return (
    <>
      <Part title="Export" about="All your tasks in one file." button="Export" act={save}>
        <label>
          Format
          <select name="format">
            <Options of={FORMATS} />
          </select>
        </label>
      </Part>
      <Part title="Import" about="What is there already stays as it is." button="Import" act={read}>
        <Field label="An export in JSON" name="file" type="file" accept=".json,application/json" />
      </Part>
    </>
  );
}
