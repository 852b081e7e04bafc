import { after } from "next/server";
import { createTransport } from "nodemailer";

const { SMTP_URL, MAIL_FROM } = process.env;
if (SMTP_URL && !MAIL_FROM) throw new Error("MAIL_FROM is missing: beside SMTP_URL it says from whom mail comes");

export const canMail = Boolean(SMTP_URL);

/** What sends a link to somebody. Nobody waits for it, because how long that takes would tell whose address is known. */
export function mailing(subject: string, words: string) {
  const transport = createTransport(SMTP_URL);
  return async ({ user, url }: { user: { email: string }; url: string }) => {
    const mail = { from: MAIL_FROM, to: user.email, subject, text: `${words}\n\n${url}\n` };
    after(() => transport.sendMail(mail).catch((error) => console.error(`"${subject}" could not be sent: ${error}`)));
  };
}
