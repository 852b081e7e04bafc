"use client";

import { useRouter } from "next/navigation";
import { type FormEvent, useState } from "react";

import { authClient } from "@/lib/auth-client";
import { problemOf } from "@/lib/words";

import { Brand } from "./Brand";
import { Field } from "./Field";
import { Notice } from "./Notice";

const FORMS = {
  known: { title: "Sign in", submit: "Sign in" },
  new: { title: "Create an account", submit: "Sign up" },
  forgotten: { title: "Forgot your password?", submit: "Send me a link" },
  reset: { title: "Set a new password", submit: "Set password" },
};
const EXPIRED = "This link has expired. Ask for a new one.";

type Props = { token?: string | undefined; isExpired: boolean; isDeleted: boolean; canMail: boolean };

export function SignIn({ token, isExpired, isDeleted, canMail }: Props) {
  const router = useRouter();
  const [form, setForm] = useState<keyof typeof FORMS>(token ? "reset" : isExpired ? "forgotten" : "known");
  const [problem, setProblem] = useState(isExpired ? EXPIRED : "");
  const [sentTo, setSentTo] = useState("");
  const [busy, setBusy] = useState(false);
  const isNew = form === "new";

  function show(next: keyof typeof FORMS) {
    setForm(next);
    setProblem("");
    setSentTo("");
  }

  function ask(text: (name: string) => string) {
    const person = { email: text("email"), password: text("password") };
    if (isNew) return authClient.signUp.email({ ...person, name: text("name") });
    if (form === "forgotten") return authClient.requestPasswordReset({ email: person.email, redirectTo: "/sign-in" });
    if (form === "reset") return authClient.resetPassword({ newPassword: person.password, token });
    return authClient.signIn.email(person);
  }

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const data = new FormData(event.currentTarget);
    setBusy(true);
    setProblem("");
    const found = await problemOf(ask((name) => String(data.get(name))));
    if (found) setProblem(found === "Email not verified" ? "Open the link that we have just sent you first." : found);
    else if (form === "forgotten" || (isNew && canMail)) setSentTo(String(data.get("email")));
    else if (form === "reset") {
      history.replaceState(null, "", "/sign-in");
      show("known"); // the new password ended all sessions
    } else {
      router.replace("/");
      router.refresh();
      return;
    }
    setBusy(false);
  }

  return (
    <main className="sign-in">
      <Brand as="h1" />
      <p role="status">
        {sentTo
          ? `If ${sentTo} can have one, a link is on its way there. Open it to go on.`
          : isDeleted
            ? "Your account and all your tasks are deleted."
            : "Your tasks, and nobody else's."}
      </p>
      {/* post, because GET would put the password into the URL if the form is sent before the script has loaded. */}
      <form className="card" method="post" onSubmit={submit}>
        <h2>{FORMS[form].title}</h2>
        {isNew && <Field label="Name" name="name" autoComplete="name" />}
        {form !== "reset" && <Field label="E-mail" name="email" type="email" autoComplete="email" />}
        {form !== "forgotten" && (
          <Field
            label="Password"
            name="password"
            type="password"
            autoComplete={form === "known" ? "current-password" : "new-password"}
            minLength={8}
          />
        )}
        {problem && <Notice>{problem}</Notice>}
        <button className="primary" type="submit" disabled={busy}>
          {FORMS[form].submit}
        </button>
        <button className="link" type="button" onClick={() => show(form === "known" ? "new" : "known")}>
          {form === "known" ? "I am new here" : "I have an account"}
        </button>
        {canMail && form === "known" && (
          <button className="link" type="button" onClick={() => show("forgotten")}>
            I forgot my password
          </button>
        )}
      </form>
    </main>
  );
}
