-- Who may do what with folders on the one volume: everybody everything.
\set ON_ERROR_STOP on
\set hosts '{"local:volume1": ["create-vfolder", "modify-vfolder", "delete-vfolder", "mount-in-session", "upload-file", "download-file", "invite-others", "set-user-specific-permission"]}'
BEGIN;
UPDATE domains SET allowed_vfolder_hosts = :'hosts';
UPDATE groups SET allowed_vfolder_hosts = :'hosts';
UPDATE keypair_resource_policies SET allowed_vfolder_hosts = :'hosts';
UPDATE vfolders SET host = 'local:volume1' WHERE host = 'volume1';
COMMIT;
