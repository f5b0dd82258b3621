-- +goose Up
-- Who may do what. An admin is not a superadmin: nothing is implied by a level.
INSERT INTO auth.role (name, level, needs_mfa) VALUES
    ('guest', 0, false),
    ('user', 10, false),
    ('therapist', 20, false),
    ('clinicaldirector', 80, true),
    ('financemanager', 80, true),
    ('complianceofficer', 80, true),
    ('admin', 90, true),
    ('superadmin', 100, true);

INSERT INTO auth.permission (name) VALUES
    ('profile.read'), ('profile.update'), ('profile.delete'),
    ('dashboard.read'),
    ('payments.read'), ('payments.manage'), ('payments.refund'), ('payments.payout'),
    ('users.manage'), ('roles.manage'), ('admins.manage'), ('settings.manage'), ('features.manage'),
    ('subscriptions.manage'), ('pricing.manage'), ('offers.manage'),
    ('analytics.read'), ('analytics.export'), ('reports.read'),
    ('audit.read'), ('audit.export'),
    ('therapists.verify'), ('therapists.manage'), ('clinical.approve'),
    ('compliance.read'), ('compliance.manage'), ('legal.manage'), ('acceptances.read'),
    ('finance.export'), ('feedback.read'), ('support.read');

INSERT INTO auth.role_permission (role, permission) VALUES
    ('guest', 'profile.read'),

    ('user', 'profile.read'), ('user', 'profile.update'), ('user', 'profile.delete'),
    ('user', 'dashboard.read'), ('user', 'payments.read'),

    ('therapist', 'profile.read'), ('therapist', 'profile.update'), ('therapist', 'profile.delete'),
    ('therapist', 'dashboard.read'), ('therapist', 'payments.read'),

    ('admin', 'profile.read'), ('admin', 'profile.update'), ('admin', 'dashboard.read'),
    ('admin', 'payments.read'), ('admin', 'payments.manage'), ('admin', 'users.manage'),
    ('admin', 'subscriptions.manage'), ('admin', 'analytics.read'), ('admin', 'audit.read'),
    ('admin', 'support.read'),

    ('clinicaldirector', 'profile.read'), ('clinicaldirector', 'profile.update'), ('clinicaldirector', 'dashboard.read'),
    ('clinicaldirector', 'analytics.read'), ('clinicaldirector', 'reports.read'),
    ('clinicaldirector', 'therapists.manage'), ('clinicaldirector', 'therapists.verify'), ('clinicaldirector', 'clinical.approve'),

    ('financemanager', 'profile.read'), ('financemanager', 'profile.update'), ('financemanager', 'dashboard.read'),
    ('financemanager', 'analytics.read'), ('financemanager', 'reports.read'), ('financemanager', 'payments.read'),
    ('financemanager', 'payments.manage'), ('financemanager', 'payments.payout'), ('financemanager', 'finance.export'),

    ('complianceofficer', 'profile.read'), ('complianceofficer', 'profile.update'), ('complianceofficer', 'dashboard.read'),
    ('complianceofficer', 'analytics.read'), ('complianceofficer', 'reports.read'), ('complianceofficer', 'audit.read'),
    ('complianceofficer', 'compliance.read'), ('complianceofficer', 'compliance.manage'), ('complianceofficer', 'legal.manage'),
    ('complianceofficer', 'acceptances.read'), ('complianceofficer', 'feedback.read');

INSERT INTO auth.role_permission (role, permission)
SELECT 'superadmin', name FROM auth.permission;

-- +goose Down
DELETE FROM auth.role_permission;
DELETE FROM auth.permission;
DELETE FROM auth.role;
