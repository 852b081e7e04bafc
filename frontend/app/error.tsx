"use client";

import { Brand } from "@/components/Brand";
import { Notice } from "@/components/Notice";

/** Shown when a page cannot be rendered, for example because the database is away. */
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
