"""Addresses of the pages. Forms that add something lie beside the lists, so that no slug can hide one."""

from __future__ import annotations

from django.urls import path, re_path

from tenants.pages import automatic, consumers, entrance, inbox, jobs, members, offboarding, preferences, tokens

app_name = "tenants"
urlpatterns = [
    path("", entrance.ChoosePage.as_view(), name="choose"),
    # With or without the last slash: a redirect would write the token into one more log.
    re_path(r"^invitations/(?P<token>[\w-]{1,100})/?$", entrance.InvitationPage.as_view(), name="invitation"),
    path("t/<slug:tenant>/consumers/", consumers.ListPage.as_view(), name="consumers"),
    path("t/<slug:tenant>/register-consumer/", consumers.RegisterPage.as_view(), name="consumer-register"),
    path("t/<slug:tenant>/consumers/<slug:consumer>/", consumers.DetailPage.as_view(), name="consumer"),
    path(
        "t/<slug:tenant>/consumers/<slug:consumer>/issue-token/",
        tokens.IssuePage.as_view(),
        name="token-issue",
    ),
    path(
        "t/<slug:tenant>/consumers/<slug:consumer>/tokens/<uuid:token>/revoke/",
        tokens.RevokePage.as_view(),
        name="token-revoke",
    ),
    path("t/<slug:tenant>/inbox/", inbox.InboxPage.as_view(), name="inbox"),
    path("t/<slug:tenant>/notice-preferences/", preferences.PreferencesPage.as_view(), name="preferences"),
    path("t/<slug:tenant>/members/", members.ListPage.as_view(), name="members"),
    path(
        "t/<slug:tenant>/invitations/<uuid:invitation>/withdraw/",
        members.WithdrawPage.as_view(),
        name="invitation-withdraw",
    ),
    path("t/<slug:tenant>/jobs/", jobs.ListPage.as_view(), name="jobs"),
    path("t/<slug:tenant>/jobs/<uuid:job>/retry/", jobs.RetryPage.as_view(), name="job-retry"),
    path("t/<slug:tenant>/invite/", members.InvitePage.as_view(), name="invite"),
    path("t/<slug:tenant>/automatic-end/", automatic.AgreementPage.as_view(), name="automatic-end"),
    path("t/<slug:tenant>/offboarding/", offboarding.ProgressPage.as_view(), name="offboarding"),
    path("t/<slug:tenant>/offboarding/certificate/", offboarding.CertificatePage.as_view(), name="certificate"),
]
