"use client";

import { Brand } from "@/components/Brand";
import { Notice } from "@/components/Notice";

/** What is shown for a page that could not be made, because the database is away for example. */
export default function Failed() {
  return (
    <main className="sign-in">
      <Brand />
      <Notice actions={{ "Try again": () => location.reload() }}>
        The server has a problem and cannot show this page. Try again in a moment.
      </Notice>
    </main>
  );
}
