-- How far each stream was folded into a view: the version is the ticket.
CREATE TABLE IF NOT EXISTS progress (
    grp        text   NOT NULL,
    generation int    NOT NULL,
    context    text   NOT NULL,
    stream     text   NOT NULL,
    version    bigint NOT NULL,
    PRIMARY KEY (grp, generation, context, stream)
) WITH (fillfactor = 70);
