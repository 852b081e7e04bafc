"use client";

import { useRouter } from "next/navigation";
import { type FormEvent, useState } from "react";

import { authClient } from "@/lib/auth-client";
import { problemOf } from "@/lib/words";

import { Brand } from "./Brand";
import { Notice } from "./Notice";

export function SignIn() {
  const router = useRouter();
  const [isNew, setIsNew] = useState(false);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (name: string) => String(form.get(name));
    const person = { email: text("email"), password: text("password") };
    setBusy(true);
    setProblem("");
    const asked = isNew ? authClient.signUp.email({ ...person, name: text("name") }) : authClient.signIn.email(person);
    const found = await problemOf(asked);
    if (found) {
      setProblem(found);
      setBusy(false);
    } else {
      router.replace("/");
      router.refresh();
    }
  }

  return (
    <main className="sign-in">
      <Brand />
      <p>Your tasks, and nobody else's.</p>
      {/* post, because GET would put the password into the URL if the form is sent before the script has loaded. */}
      <form className="card" method="post" onSubmit={submit}>
        <h2>{isNew ? "Create an account" : "Sign in"}</h2>
        {isNew && (
          <label>
            Name
            <input name="name" autoComplete="name" required />
          </label>
        )}
        <label>
          E-mail
          <input name="email" type="email" autoComplete="email" required />
        </label>
        <label>
          Password
          <input
            name="password"
            type="password"
            autoComplete={isNew ? "new-password" : "current-password"}
            minLength={8}
            required
          />
        </label>
        {problem && <Notice>{problem}</Notice>}
        <button className="primary" type="submit" disabled={busy}>
          {isNew ? "Sign up" : "Sign in"}
        </button>
        <button className="link" type="button" onClick={() => setIsNew(!isNew)}>
          {isNew ? "I have an account" : "I am new here"}
        </button>
      </form>
    </main>
  );
}
