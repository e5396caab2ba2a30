"""The views for people who open a session file in Datasette or the sqlite3 shell."""

from __future__ import annotations

#: What makes the joins below quick.
INDEXES = (
    """
    CREATE INDEX events_text_started ON events (session_id, json_extract(body, '$.text_id'))
    WHERE kind = 'text_started'
    """,
)

#: Name to query. The program itself lists sessions with the query of `session_overview`, but with
#: the text here: a file that came by mail may have another view of this name.
VIEWS = {
    # Correlated subqueries, each a look-up in an index: joins would read every event. So would
    # going backwards over seq until a kind is met, from which the + keeps SQLite.
    "session_overview": """
        SELECT
            sessions.id,
            (
                SELECT json_extract(body, '$.name') FROM events
                WHERE session_id = sessions.id
                    AND kind IN ('session_started', 'session_renamed')
                ORDER BY +seq DESC LIMIT 1
            ) AS name,
            sessions.created_at,
            (
                SELECT at FROM events WHERE session_id = sessions.id ORDER BY seq DESC LIMIT 1
            ) AS last_event_at,
            (
                SELECT seq FROM events WHERE session_id = sessions.id ORDER BY seq DESC LIMIT 1
            ) AS events,
            (
                SELECT json_extract(body, '$.pair.base.checkpoint') FROM events
                WHERE session_id = sessions.id AND kind = 'pair_loaded'
                ORDER BY seq DESC LIMIT 1
            ) AS base,
            (
                SELECT coalesce(
                    json_extract(body, '$.pair.finetuned.adapter'),
                    json_extract(body, '$.pair.finetuned.checkpoint')
                ) FROM events
                WHERE session_id = sessions.id AND kind = 'pair_loaded'
                ORDER BY seq DESC LIMIT 1
            ) AS finetuned,
            (
                SELECT json_extract(body, '$.outcome') FROM events
                WHERE session_id = sessions.id
                    AND kind IN ('session_started', 'session_continued', 'session_closed')
                ORDER BY +seq DESC LIMIT 1
            ) AS outcome
        FROM sessions
    """,
    "readings": """
        SELECT
            id AS event_id,
            session_id,
            seq,
            at,
            operation_id,
            json_extract(body, '$.reading') AS reading,
            json_extract(body, '$.source') AS source,
            json_extract(body, '$.side') AS side,
            json_extract(body, '$.layer') AS layer,
            json_extract(body, '$.position') AS position,
            json_extract(body, '$.scale') AS scale,
            json_extract(body, '$.chosen') AS chosen,
            (
                SELECT json_group_array(json_extract(value, '$.text'))
                FROM json_each(events.body, '$.tokens')
            ) AS tokens
        FROM events
        WHERE kind = 'reading_taken'
    """,
    "texts": """
        SELECT
            finished.id AS event_id,
            finished.session_id,
            finished.seq,
            finished.at,
            finished.operation_id,
            json_extract(finished.body, '$.text_id') AS text_id,
            json_extract(started.body, '$.purpose') AS purpose,
            json_extract(started.body, '$.side') AS side,
            json_extract(started.body, '$.alpha') AS alpha,
            json_extract(started.body, '$.seed') AS seed,
            coalesce(
                json_extract(started.body, '$.raw_prompt'),
                json_extract(started.body, '$.messages[#-1].content')
            ) AS prompt,
            json_extract(finished.body, '$.text') AS text,
            json_extract(finished.body, '$.ended') AS ended
        FROM events AS finished
        LEFT JOIN events AS started ON
            started.kind = 'text_started'
            AND started.session_id = finished.session_id
            AND json_extract(started.body, '$.text_id')
                = json_extract(finished.body, '$.text_id')
        WHERE finished.kind = 'text_finished'
    """,
    "notes": """
        SELECT
            id AS event_id,
            session_id,
            seq,
            at,
            actor_kind,
            actor_name,
            json_extract(body, '$.text') AS text
        FROM events
        WHERE kind = 'note_written'
    """,
    "operations": """
        SELECT
            started.operation_id,
            started.session_id,
            json_extract(started.body, '$.operation') AS name,
            started.actor_kind,
            started.actor_name,
            started.at AS started_at,
            ended.at AS ended_at,
            CASE
                WHEN ended.kind IS NOT NULL THEN substr(ended.kind, length('operation_') + 1)
                WHEN EXISTS (
                    SELECT 1 FROM events AS later
                    WHERE later.session_id = started.session_id
                        AND later.seq > started.seq
                        AND later.kind IN ('session_continued', 'session_closed')
                ) THEN 'abandoned'
                ELSE 'running'
            END AS status,
            json_extract(ended.body, '$.seconds') AS seconds,
            json_extract(ended.body, '$.message') AS message
        FROM events AS started
        LEFT JOIN events AS ended ON
            ended.operation_id = started.operation_id
            AND ended.session_id = started.session_id
            AND ended.kind IN ('operation_finished', 'operation_failed', 'operation_stopped')
        WHERE started.kind = 'operation_started'
    """,
}

#: Without an index of a JSON function, which SQLite before 3.41 does not let files of others have.
PLAIN_INDEXES = (
    """
    CREATE INDEX events_text_started ON events (session_id, operation_id)
    WHERE kind = 'text_started'
    """,
)

_SAME_SESSION = "AND started.session_id = finished.session_id\n            "

#: In place of those in `VIEWS`. What is legible of a packed list has the texts of its tokens if it
#: was chosen; the words of every list stand in the text for the search.
PLAIN_VIEWS = {
    "readings": """
        SELECT
            events.id AS event_id,
            session_id,
            seq,
            at,
            operation_id,
            json_extract(body, '$.reading') AS reading,
            json_extract(body, '$.source') AS source,
            json_extract(body, '$.side') AS side,
            json_extract(body, '$.layer') AS layer,
            json_extract(body, '$.position') AS position,
            json_extract(body, '$.scale') AS scale,
            json_extract(body, '$.chosen') AS chosen,
            CASE WHEN json_extract(body, '$.tokens') IS NOT NULL THEN (
                SELECT json_group_array(
                    CASE type WHEN 'object' THEN json_extract(value, '$.text') ELSE value END
                )
                FROM json_each(events.body, '$.tokens')
            ) END AS tokens,
            event_text.text AS words
        FROM events LEFT JOIN event_text ON event_text.event_id = events.id
        WHERE kind = 'reading_taken'
    """,
    "texts": VIEWS["texts"].replace(
        _SAME_SESSION,
        f"{_SAME_SESSION}AND started.operation_id IS finished.operation_id\n            ",
    ),
}

HYPOTHESIS_VIEWS = {
    "hypotheses": """
        SELECT
            stated.id AS event_id,
            stated.session_id,
            json_extract(stated.body, '$.hypothesis_id') AS hypothesis_id,
            latest.at AS last_changed_at,
            latest.actor_kind,
            latest.actor_name,
            json_extract(latest.body, '$.text') AS text,
            json_extract(latest.body, '$.confidence') AS confidence,
            coalesce(
                (
                    SELECT json_extract(body, '$.verdict') FROM events AS judged
                    WHERE judged.session_id = stated.session_id
                        AND judged.kind = 'hypothesis_judged'
                        AND json_extract(judged.body, '$.hypothesis_id')
                            = json_extract(stated.body, '$.hypothesis_id')
                    ORDER BY judged.seq DESC LIMIT 1
                ),
                'open'
            ) AS verdict
        FROM events AS stated
        JOIN events AS latest ON latest.id = (
            SELECT id FROM events AS version
            WHERE version.session_id = stated.session_id
                AND version.kind IN ('hypothesis_stated', 'hypothesis_revised')
                AND json_extract(version.body, '$.hypothesis_id')
                    = json_extract(stated.body, '$.hypothesis_id')
            ORDER BY version.seq DESC LIMIT 1
        )
        WHERE stated.kind = 'hypothesis_stated'
    """,
    "evidence": """
        SELECT
            id AS event_id,
            session_id,
            seq,
            at,
            actor_kind,
            actor_name,
            json_extract(body, '$.evidence_id') AS evidence_id,
            json_extract(body, '$.of_seq') AS of_seq,
            json_extract(body, '$.label') AS label,
            json_extract(body, '$.excerpt') AS excerpt,
            json_extract(body, '$.note') AS note
        FROM events
        WHERE kind = 'evidence_marked'
    """,
}

AGENT_VIEWS = {
    "agent_runs": """
        SELECT
            started.session_id,
            json_extract(started.body, '$.run_id') AS run_id,
            json_extract(started.body, '$.mode') AS mode,
            json_extract(started.body, '$.model') AS model,
            started.at AS started_at,
            (
                SELECT json_extract(body, '$.stopped_by') FROM events AS ended
                WHERE ended.session_id = started.session_id
                    AND ended.kind = 'agent_ended'
                    AND json_extract(ended.body, '$.run_id')
                        = json_extract(started.body, '$.run_id')
            ) AS stopped_by,
            (
                SELECT json_extract(body, '$.description') FROM events AS report
                WHERE report.session_id = started.session_id
                    AND report.kind = 'report_submitted'
                    AND json_extract(report.body, '$.run_id')
                        = json_extract(started.body, '$.run_id')
                ORDER BY report.seq DESC LIMIT 1
            ) AS report
        FROM events AS started
        WHERE started.kind = 'agent_started'
    """,
    "agent_replies": """
        SELECT
            id AS event_id,
            session_id,
            seq,
            at,
            json_extract(body, '$.run_id') AS run_id,
            json_extract(body, '$.purpose') AS purpose,
            json_extract(body, '$.model') AS model,
            json_extract(body, '$.content') AS content,
            json_extract(body, '$.tool_calls') AS tool_calls,
            json_extract(body, '$.usage.prompt_tokens') AS prompt_tokens,
            json_extract(body, '$.usage.completion_tokens') AS completion_tokens,
            json_extract(body, '$.usage.cost') AS cost,
            json_extract(body, '$.seconds') AS seconds
        FROM events
        WHERE kind = 'agent_replied'
    """,
    "grades": """
        SELECT
            id AS event_id,
            session_id,
            seq,
            at,
            actor_kind,
            actor_name,
            json_extract(body, '$.grade_id') AS grade_id,
            json_extract(body, '$.grader') AS grader,
            json_extract(body, '$.subject') AS subject,
            json_extract(body, '$.score') AS score,
            json_extract(body, '$.reason') AS reason,
            json_extract(body, '$.rubric') AS rubric,
            json_extract(body, '$.rubric_version') AS rubric_version,
            json_extract(body, '$.model') AS model,
            json_extract(body, '$.replaces') AS replaces
        FROM events
        WHERE kind = 'grade_given'
    """,
}
