-- How far the serving generation of each view has folded each stream, for readers: they see no table of the engine.
-- Groups are called after the instance, as this schema is.
DO $$ BEGIN
    EXECUTE format('
        CREATE OR REPLACE VIEW freshness AS
        SELECT r.view, p.context, p.stream, p.version
        FROM replay AS r
        JOIN progress AS p ON p.grp = %L || r.view AND p.generation = r.generation
        WHERE r.state = ''serving''', current_schema() || '.');
END $$;
COMMENT ON VIEW freshness IS 'The version of each stream that each view has folded.';
COMMENT ON COLUMN freshness.view IS 'The view.';
COMMENT ON COLUMN freshness.context IS 'The context of the stream.';
COMMENT ON COLUMN freshness.stream IS 'The stream.';
COMMENT ON COLUMN freshness.version IS 'The version of its last event that the view has folded.';
