-- The campaigns again, by SQL from the events alone.
WITH touching AS (
    SELECT data ->> 'campaign_id' AS campaign_id, version, type, occurred_at, data
    FROM {events}
    WHERE type IN ('CampaignCreated', 'AudienceRequested', 'CampaignLaunched', 'CampaignFailed',
                   'DeliveriesQueued', 'DeliveriesChanged')
), moved AS (
    SELECT campaign_id, 'queued' AS place, jsonb_array_length(data -> 'recipients') AS messages
    FROM touching WHERE type = 'DeliveriesQueued'
    UNION ALL
    SELECT campaign_id, side.place, side.messages
    FROM touching
    CROSS JOIN LATERAL jsonb_array_elements(data -> 'changes') AS change
    CROSS JOIN LATERAL (VALUES (change ->> 'from', -1), (change ->> 'to', 1)) AS side (place, messages)
    WHERE type = 'DeliveriesChanged'
), counted AS (
    SELECT campaign_id,
           sum(messages) FILTER (WHERE place = 'queued') AS pending,
           sum(messages) FILTER (WHERE place IN ('sent', 'delivered')) AS sent,
           sum(messages) FILTER (WHERE place = 'delivered') AS delivered,
           sum(messages) FILTER (WHERE place IN ('failed', 'dead')) AS failed
    FROM moved GROUP BY 1
), history AS (
    SELECT campaign_id,
           (array_agg(type ORDER BY version DESC)
                FILTER (WHERE type NOT IN ('DeliveriesQueued', 'DeliveriesChanged')))[1] AS last,
           count(*) AS version,
           max(occurred_at) AS updated_at
    FROM touching GROUP BY 1
)
SELECT history.campaign_id,
       created.data ->> 'segment_id' AS segment_id,
       created.data ->> 'name' AS name,
       created.data ->> 'channel' AS channel,
       CASE last
           WHEN 'AudienceRequested' THEN 'resolving'
           WHEN 'CampaignLaunched' THEN 'launched'
           WHEN 'CampaignFailed' THEN 'failed'
           ELSE 'draft'
       END AS status,
       failed.data ->> 'reason' AS failure,
       coalesce((launched.data ->> 'audience')::bigint, 0) AS audience,
       coalesce(counted.pending, 0) AS pending,
       coalesce(counted.sent, 0) AS sent,
       coalesce(counted.delivered, 0) AS delivered,
       coalesce(counted.failed, 0) AS failed,
       created.occurred_at AS created_at,
       launched.occurred_at AS launched_at,
       history.version,
       history.updated_at
FROM history
LEFT JOIN counted USING (campaign_id)
LEFT JOIN touching AS created ON created.campaign_id = history.campaign_id AND created.type = 'CampaignCreated'
LEFT JOIN touching AS launched ON launched.campaign_id = history.campaign_id AND launched.type = 'CampaignLaunched'
LEFT JOIN touching AS failed ON failed.campaign_id = history.campaign_id AND failed.type = 'CampaignFailed'
