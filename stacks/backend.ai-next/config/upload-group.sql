-- The resource group of sftp-agent: the default one, under another name.
\set ON_ERROR_STOP on
INSERT INTO scaling_groups
SELECT (jsonb_populate_record(g, jsonb_build_object(
         'name', 'upload', 'id', gen_random_uuid(), 'is_default', false, 'description', 'uploads by SFTP'))).*
  FROM scaling_groups g WHERE g.name = 'default'
    ON CONFLICT DO NOTHING;
INSERT INTO sgroups_for_domains (scaling_group, domain) VALUES ('upload', 'default') ON CONFLICT DO NOTHING;
