"""Addresses of the API, version 1 (DESIGN.md section 9)."""

from __future__ import annotations

from django.urls import path
from drf_spectacular.views import SpectacularJSONAPIView

from audit.api import documents, erasures, proofs
from audit.api import views as audit
from byok_portal import api_docs
from keys.api import (
    campaigns,
    draining,
    drills,
    findings,
    incident_reports,
    incidents,
    offboardings,
    policies,
    projects,
    rotation,
    uses,
)
from keys.api import views as keys
from tenants.api import jobs, notices
from tenants.api import views as tenants

_T = "tenants/<str:tenant>/"
_K = f"{_T}keys/<str:key>/"
_V = f"{_K}versions/<int:number>/"
_C = f"{_T}consumers/<str:consumer>/"
_P = f"{_T}projects/<str:project>/"
_I = f"{_T}incidents/<uuid:incident>/"

urlpatterns = [
    path(f"{_K}use/", uses.KeyUse.as_view(), name="key-use"),  # what is called most is found first
    path("openapi.json", SpectacularJSONAPIView.as_view(authentication_classes=[]), name="openapi"),
    path("docs/", api_docs.docs, name="docs"),
    path("providers/", keys.Providers.as_view(), name="providers"),
    path("providers/<str:provider>/", keys.ProviderDetail.as_view(), name="provider"),
    path("introspect/", uses.Introspect.as_view(), name="introspect"),
    path("tenants/", tenants.Tenants.as_view(), name="tenants"),
    path(_T, tenants.TenantDetail.as_view(), name="tenant"),
    path(f"{_T}offboarding/plan/", offboardings.TenantPlan.as_view(), name="tenant-plan"),
    path(f"{_T}offboardings/", offboardings.Offboardings.as_view(), name="offboardings"),
    path(f"{_T}offboardings/<uuid:run>/", offboardings.OffboardingRun.as_view(), name="offboarding-run"),
    path(
        f"{_T}offboardings/<uuid:run>/steps/<int:number>/settle/",
        offboardings.ResidualSettle.as_view(),
        name="residual-settle",
    ),
    path(f"{_T}projects/", projects.Projects.as_view(), name="projects"),
    path(_P, projects.ProjectDetail.as_view(), name="project"),
    path(f"{_P}plan/", offboardings.ProjectPlan.as_view(), name="project-plan"),
    path(f"{_P}offboarding/", offboardings.ProjectOffboard.as_view(), name="project-offboarding"),
    path(f"{_C}plan/", offboardings.ConsumerPlan.as_view(), name="consumer-plan"),
    path(f"{_C}offboarding/", offboardings.ConsumerRun.as_view(), name="consumer-offboarding"),
    path(f"{_C}project/", projects.ConsumerProject.as_view(), name="consumer-project"),
    path(f"{_K}project/", projects.KeyProject.as_view(), name="key-project"),
    path(f"{_T}offboarding/", keys.OffboardingDetail.as_view(), name="offboarding"),
    path(f"{_T}consumers/", tenants.Consumers.as_view(), name="consumers"),
    path(_C, tenants.ConsumerDetail.as_view(), name="consumer"),
    path(f"{_C}end/", keys.ConsumerEnd.as_view(), name="consumer-end"),
    path(f"{_C}tokens/", tenants.ConsumerTokens.as_view(), name="consumer-tokens"),
    path(
        f"{_C}tokens/<uuid:token>/revoke/",
        tenants.ConsumerTokenRevoke.as_view(),
        name="consumer-token-revoke",
    ),
    path(f"{_T}policy/", policies.TenantPolicy.as_view(), name="policy"),
    path(f"{_K}policy/", policies.KeyPolicy.as_view(), name="key-policy"),
    path(f"{_T}notices/", notices.Notices.as_view(), name="notices"),
    path(f"{_T}notices/read/", notices.NoticesRead.as_view(), name="notices-read"),
    path(f"{_T}keys/", keys.Keys.as_view(), name="keys"),
    path(_K, keys.KeyDetail.as_view(), name="key"),
    path(f"{_K}proof/", keys.KeyProof.as_view(), name="key-proof"),
    path(f"{_K}versions/", keys.KeyVersions.as_view(), name="key-versions"),
    path(f"{_K}rotate-assisted/", rotation.KeyRotateAssisted.as_view(), name="key-rotate-assisted"),
    path(f"{_V}users/", draining.KeyVersionUsers.as_view(), name="key-version-users"),
    path(f"{_V}revoke/", draining.KeyVersionRevoke.as_view(), name="key-version-revoke"),
    path(f"{_V}roll-back/", draining.KeyVersionRollBack.as_view(), name="key-version-roll-back"),
    path(f"{_V}brownout/", draining.KeyVersionBrownout.as_view(), name="key-version-brownout"),
    path(f"{_V}brownout/end/", draining.KeyVersionBrownoutEnd.as_view(), name="key-version-brownout-end"),
    path(f"{_K}activate/", keys.KeyActivate.as_view(), name="key-activate"),
    path(f"{_K}suspend/", keys.KeySuspend.as_view(), name="key-suspend"),
    path(f"{_K}resume/", keys.KeyResume.as_view(), name="key-resume"),
    path(f"{_K}revoke/", keys.KeyRevoke.as_view(), name="key-revoke"),
    path(f"{_K}compromise/", incidents.KeyCompromise.as_view(), name="key-compromise"),
    path(f"{_K}quarantine/", incidents.KeyQuarantine.as_view(), name="key-quarantine"),
    path(f"{_T}incidents/", incidents.Incidents.as_view(), name="incidents"),
    path(_I, incidents.IncidentDetail.as_view(), name="incident"),
    path(f"{_I}report/", incident_reports.IncidentReport.as_view(), name="incident-report"),
    path(f"{_I}report/issue/", incident_reports.IncidentReportIssue.as_view(), name="incident-issue"),
    path(f"{_I}tasks/", incidents.IncidentTasks.as_view(), name="incident-tasks"),
    path(f"{_I}tasks/<uuid:task>/", incidents.IncidentTaskSettle.as_view(), name="incident-task"),
    path(f"{_I}note/", incidents.IncidentNote.as_view(), name="incident-note"),
    path(f"{_I}move/", incidents.IncidentMove.as_view(), name="incident-move"),
    path(f"{_I}suspected-since/", incidents.IncidentSince.as_view(), name="incident-since"),
    path(f"{_I}confirm/", incidents.IncidentConfirm.as_view(), name="incident-confirm"),
    path(f"{_I}dismiss/", incidents.IncidentDismiss.as_view(), name="incident-dismiss"),
    path(f"{_T}findings/", findings.Findings.as_view(), name="findings"),
    path(f"{_K}findings/<str:kind>/accept/", findings.FindingAccept.as_view(), name="finding-accept"),
    path(f"{_K}right-size/", findings.KeyRightSize.as_view(), name="key-right-size"),
    path(f"{_T}campaigns/", campaigns.Campaigns.as_view(), name="campaigns"),
    path(f"{_T}campaigns/<uuid:campaign>/", campaigns.CampaignDetail.as_view(), name="campaign"),
    path(f"{_T}campaigns/<uuid:campaign>/close/", campaigns.CampaignClose.as_view(), name="campaign-close"),
    path(f"{_T}drills/", drills.Drills.as_view(), name="drills"),
    path(f"{_T}drills/<uuid:drill>/", drills.DrillDetail.as_view(), name="drill"),
    path(f"{_T}drill-schedules/", drills.DrillSchedules.as_view(), name="drill-schedules"),
    path(f"{_K}canary/", drills.KeyCanary.as_view(), name="key-canary"),
    path(f"{_K}hand-over/", keys.KeyHandOver.as_view(), name="key-hand-over"),
    path(f"{_K}withdraw/", keys.KeyWithdraw.as_view(), name="key-withdraw"),
    path(f"{_K}grants/", keys.Grants.as_view(), name="grants"),
    path(f"{_K}grants/<uuid:grant>/end/", keys.GrantEnd.as_view(), name="grant-end"),
    path(f"{_K}proxy/<path:path>", uses.KeyProxy.as_view(), name="key-proxy"),
    path(f"{_T}jobs/", jobs.Jobs.as_view(), name="jobs"),
    path(f"{_T}jobs/<uuid:job>/retry/", jobs.JobRetry.as_view(), name="job-retry"),
    path(f"{_T}audit/events/", audit.Events.as_view(), name="audit-events"),
    path(f"{_T}audit/events/<uuid:event>/", audit.EventDetail.as_view(), name="audit-event"),
    path(f"{_T}audit/events/<uuid:event>/proof/", proofs.EventProof.as_view(), name="audit-event-proof"),
    path(f"{_T}audit/checkpoint/", proofs.LatestCheckpoint.as_view(), name="audit-checkpoint"),
    path(f"{_T}audit/consistency/", proofs.Consistency.as_view(), name="audit-consistency"),
    path(f"{_T}audit/export/", proofs.ExportView.as_view(), name="audit-export"),
    path(f"{_T}documents/", documents.Documents.as_view(), name="documents"),
    path(f"{_T}documents/<uuid:document>/", documents.DocumentDetail.as_view(), name="document"),
    path(f"{_T}documents/<uuid:document>/bundle/", documents.DocumentBundle.as_view(), name="document-bundle"),
    path(f"{_T}audit/erasures/", erasures.Erasures.as_view(), name="audit-erasures"),
]
