import type { Metadata } from "next";
import type { ReactNode } from "react";

import "@fontsource-variable/inter/wght.css";
import "./styles/page.css";
import "./styles/fields.css";
import "./styles/sign-in.css";
import "./styles/new-task.css";
import "./styles/filters.css";
import "./styles/list.css";
import "./styles/notices.css";
import "./styles/account.css";
import "./styles/selection.css";

export const metadata: Metadata = { title: "Better Tasks", description: "Your tasks, and nobody else's" };

// A prerendered page has no nonce, so its scripts would not run.
export const dynamic = "force-dynamic";

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body>{children}</body>
    </html>
  );
}
