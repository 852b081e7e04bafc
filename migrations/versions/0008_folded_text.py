"""Columns by which text is searched and sorted without case and accents, and the index of that order.

PostgreSQL writes the table anew, for which it is locked: about three seconds for 100,000 tasks, and more where their
texts are long and not ASCII. Nothing is lost or changed by it.
"""

import sqlalchemy as sa
from alembic import op

from backend.settings import StartError

revision = "0008"
down_revision = "0007"

# Of backend/folding.py, as it was when this was written.
FOLDED = (
    'CASE WHEN octet_length({text}) = length({text}) THEN lower({text} COLLATE "C") ELSE NORMALIZE(replace(repl'
    'ace(replace(replace(translate(regexp_replace(lower(NORMALIZE({text}, NFKD) COLLATE "C"), \'[\u00ad\u0300-'
    "\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u061c\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u1ab0-\u1aff\u1dc0-\u1dff\u200b-\u200f\u202a-\u202e"
    "\u2060-\u2064\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\ufeff]'::text, ''::text, 'g'::text), (CASE WHEN (({text"
    '} COLLATE "C") ~ \'[\u00c6\u00d0\u00d8\u00de\u00e6\u00f0\u00f8\u00fe\u0111\u0110\u0127\u0126\u0131\u0141'
    "\u0142\u014a\u014b\u0166\u0167\u0180-\u024f\ua78b\ua78d\ua7aa\u1e9e]'::text) THEN '\u00c6\u00d0\u00d8\u00de"
    "\u00f0\u00f8\u0110\u0111\u0126\u0127\u0131\u0141\u0142\u014a\u014b\u0152\u0166\u0167\u0181\u0182\u0184\u0186"
    "\u0187\u0189\u018a\u018b\u018e\u018f\u0190\u0191\u0193\u0194\u0196\u0197\u0198\u019c\u019d\u019f\u01a2\u01a4"
    "\u01a6\u01a7\u01a9\u01ac\u01ae\u01b1\u01b2\u01b3\u01b5\u01b7\u01b8\u01bc\u01e4\u01f6\u01f7\u021c\u0220\u0222"
    "\u0224\u023a\u023b\u023d\u023e\u0241\u0243\u0244\u0245\u0246\u0248\u024a\u024c\u024e\u1e9e\ua78b\ua78d\ua7aa"
    "'::text ELSE ''::text END || CASE WHEN (({text} COLLATE \"C\") ~ '[\u0370-\u03ff\u1f00-\u1fff]'::text) THEN "
    "'\u0370\u0372\u0376\u037f\u0391\u0392\u0393\u0394\u0395\u0396\u0397\u0398\u0399\u039a\u039b\u039c\u039d"
    "\u039e\u039f\u03a0\u03a1\u03a3\u03a4\u03a5\u03a6\u03a7\u03a8\u03a9\u03c2\u03cf\u03d8\u03da\u03dc\u03de\u03e0"
    "\u03e2\u03e4\u03e6\u03e8\u03ea\u03ec\u03ee\u03f7\u03fa\u03fd\u03fe\u03ff'::text ELSE ''::text END || CASE WH"
    "EN (({text} COLLATE \"C\") ~ '[\u0400-\u052f]'::text) THEN '\u0402\u0404\u0405\u0406\u0408\u0409\u040a\u040b"
    "\u040f\u0410\u0411\u0412\u0413\u0414\u0415\u0416\u0417\u0418\u041a\u041b\u041c\u041d\u041e\u041f\u0420\u0421"
    "\u0422\u0423\u0424\u0425\u0426\u0427\u0428\u0429\u042a\u042b\u042c\u042d\u042e\u042f\u0460\u0462\u0464\u0466"
    "\u0468\u046a\u046c\u046e\u0470\u0472\u0474\u0478\u047a\u047c\u047e\u0480\u048a\u048c\u048e\u0490\u0492\u0494"
    "\u0496\u0498\u049a\u049c\u049e\u04a0\u04a2\u04a4\u04a6\u04a8\u04aa\u04ac\u04ae\u04b0\u04b2\u04b4\u04b6\u04b8"
    "\u04ba\u04bc\u04be\u04c0\u04c3\u04c5\u04c7\u04c9\u04cb\u04cd\u04d4\u04d8\u04e0\u04e8\u04f6\u04fa\u04fc\u04fe"
    "\u0500\u0502\u0504\u0506\u0508\u050a\u050c\u050e\u0510\u0512\u0514\u0516\u0518\u051a\u051c\u051e\u0520\u0522"
    "\u0524\u0526\u0528\u052a\u052c\u052e'::text ELSE ''::text END || CASE WHEN (({text} COLLATE \"C\") ~ '["
    "\u0531-\u0556]'::text) THEN '\u0531\u0532\u0533\u0534\u0535\u0536\u0537\u0538\u0539\u053a\u053b\u053c\u053d"
    "\u053e\u053f\u0540\u0541\u0542\u0543\u0544\u0545\u0546\u0547\u0548\u0549\u054a\u054b\u054c\u054d\u054e\u054f"
    "\u0550\u0551\u0552\u0553\u0554\u0555\u0556'::text ELSE ''::text END), (CASE WHEN (({text} COLLATE \"C\") ~ '"
    "[\u00c6\u00d0\u00d8\u00de\u00e6\u00f0\u00f8\u00fe\u0111\u0110\u0127\u0126\u0131\u0141\u0142\u014a\u014b"
    "\u0166\u0167\u0180-\u024f\ua78b\ua78d\ua7aa\u1e9e]'::text) THEN '\u00e6do\u00fedoddhhillnn\u0153tt\u0253"
    "\u0183\u0185\u0254\u0188\u0256\u0257\u018c\u01dd\u0259\u025b\u0192\u0260\u0263\u0269\u0268\u0199\u026f\u0272"
    "\u0275\u01a3\u01a5\u0280\u01a8\u0283\u01ad\u0288\u028a\u028b\u01b4\u01b6\u0292\u01b9\u01bd\u01e5\u0195\u01bf"
    "\u021d\u019e\u0223\u0225\u2c65\u023c\u019a\u2c66\u0242\u0180\u0289\u028c\u0247\u0249\u024b\u024d\u024f\u00df"
    "\ua78c\u0265\u0266'::text ELSE ''::text END || CASE WHEN (({text} COLLATE \"C\") ~ '[\u0370-\u03ff\u1f00-"
    "\u1fff]'::text) THEN '\u0371\u0373\u0377\u03f3\u03b1\u03b2\u03b3\u03b4\u03b5\u03b6\u03b7\u03b8\u03b9\u03ba"
    "\u03bb\u03bc\u03bd\u03be\u03bf\u03c0\u03c1\u03c3\u03c4\u03c5\u03c6\u03c7\u03c8\u03c9\u03c3\u03d7\u03d9\u03db"
    "\u03dd\u03df\u03e1\u03e3\u03e5\u03e7\u03e9\u03eb\u03ed\u03ef\u03f8\u03fb\u037b\u037c\u037d'::text ELSE ''::t"
    "ext END || CASE WHEN (({text} COLLATE \"C\") ~ '[\u0400-\u052f]'::text) THEN '\u0452\u0454\u0455\u0456\u0458"
    "\u0459\u045a\u045b\u045f\u0430\u0431\u0432\u0433\u0434\u0435\u0436\u0437\u0438\u043a\u043b\u043c\u043d\u043e"
    "\u043f\u0440\u0441\u0442\u0443\u0444\u0445\u0446\u0447\u0448\u0449\u044a\u044b\u044c\u044d\u044e\u044f\u0461"
    "\u0463\u0465\u0467\u0469\u046b\u046d\u046f\u0471\u0473\u0475\u0479\u047b\u047d\u047f\u0481\u048b\u048d\u048f"
    "\u0491\u0493\u0495\u0497\u0499\u049b\u049d\u049f\u04a1\u04a3\u04a5\u04a7\u04a9\u04ab\u04ad\u04af\u04b1\u04b3"
    "\u04b5\u04b7\u04b9\u04bb\u04bd\u04bf\u04cf\u04c4\u04c6\u04c8\u04ca\u04cc\u04ce\u04d5\u04d9\u04e1\u04e9\u04f7"
    "\u04fb\u04fd\u04ff\u0501\u0503\u0505\u0507\u0509\u050b\u050d\u050f\u0511\u0513\u0515\u0517\u0519\u051b\u051d"
    "\u051f\u0521\u0523\u0525\u0527\u0529\u052b\u052d\u052f'::text ELSE ''::text END || CASE WHEN (({text} COLLAT"
    "E \"C\") ~ '[\u0531-\u0556]'::text) THEN '\u0561\u0562\u0563\u0564\u0565\u0566\u0567\u0568\u0569\u056a\u056b"
    "\u056c\u056d\u056e\u056f\u0570\u0571\u0572\u0573\u0574\u0575\u0576\u0577\u0578\u0579\u057a\u057b\u057c\u057d"
    "\u057e\u057f\u0580\u0581\u0582\u0583\u0584\u0585\u0586'::text ELSE ''::text END)), '\u00df'::text, 'ss'::tex"
    "t), '\u00e6'::text, 'ae'::text), '\u0153'::text, 'oe'::text), '\u00fe'::text, 'th'::text), NFC) END"
)


def upgrade() -> None:
    encoding = op.get_bind().scalar(sa.text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise StartError(f"The database is in {encoding}, and has to be in UTF8: make one with ENCODING 'UTF8'")
    words = "(title)::text || ' '::text || (COALESCE(description, ''::character varying))::text"
    title = "(title)::text"
    order = f'"left"({FOLDED.format(text=title)}, 100) || chr(1) || "left"({title}, 200)'
    # In one statement, so that the table is written once.
    op.execute(
        f"""
        ALTER TABLE task
            ADD COLUMN title_order text COLLATE "C" GENERATED ALWAYS AS ({order}) STORED NOT NULL,
            ADD COLUMN search_text text COLLATE "C" GENERATED ALWAYS AS ({FOLDED.format(text=f"({words})")}) STORED NOT NULL
        """
    )
    op.create_index("task_title", "task", ["user_id", "title_order", "id"])


def downgrade() -> None:
    op.drop_index("task_title", table_name="task")
    op.drop_column("task", "search_text")
    op.drop_column("task", "title_order")
