"""Addresses of the pages. Forms that add something lie beside the lists, so that no slug can hide one."""

from __future__ import annotations

from django.urls import path

from keys.pages import (
    detail,
    draining,
    findings,
    grants,
    lifecycle,
    listing,
    ownership,
    policies,
    registration,
    rotation,
)

app_name = "keys"
_KEY = "keys/<slug:key>/"
urlpatterns = [
    path("", listing.ListPage.as_view(), name="home"),
    path("keys/", listing.ListPage.as_view(), name="list"),
    path("register-key/", registration.RegisterPage.as_view(), name="register"),
    path(_KEY, detail.DetailPage.as_view(), name="detail"),
    path(f"{_KEY}activate/", lifecycle.ActivatePage.as_view(), name="activate"),
    path(f"{_KEY}prove/", lifecycle.ProvePage.as_view(), name="prove"),
    path(f"{_KEY}suspend/", lifecycle.SuspendPage.as_view(), name="suspend"),
    path(f"{_KEY}resume/", lifecycle.ResumePage.as_view(), name="resume"),
    path(f"{_KEY}revoke/", lifecycle.RevokePage.as_view(), name="revoke"),
    path(f"{_KEY}compromise/", lifecycle.CompromisePage.as_view(), name="compromise"),
    path(f"{_KEY}withdraw/", lifecycle.WithdrawPage.as_view(), name="withdraw"),
    path("findings/", findings.ListPage.as_view(), name="findings"),
    path(f"{_KEY}findings/<slug:kind>/accept/", findings.AcceptPage.as_view(), name="finding-accept"),
    path(f"{_KEY}right-size/", findings.RightSizePage.as_view(), name="right-size"),
    path(f"{_KEY}hand-over/", ownership.HandOverPage.as_view(), name="hand-over"),
    path("members/<uuid:member>/role/", ownership.RolePage.as_view(), name="member-role"),
    path("members/<uuid:member>/remove/", ownership.RemoveMemberPage.as_view(), name="member-remove"),
    path(f"{_KEY}rotate/", rotation.RotatePage.as_view(), name="rotate"),
    path(f"{_KEY}versions/<int:number>/finish/", draining.FinishPage.as_view(), name="finish-rotation"),
    path(f"{_KEY}versions/<int:number>/roll-back/", draining.RollBackPage.as_view(), name="roll-back"),
    path(f"{_KEY}versions/<int:number>/brownout/", draining.BrownoutPage.as_view(), name="brownout"),
    path(f"{_KEY}versions/<int:number>/brownout/end/", draining.EndBrownoutPage.as_view(), name="end-brownout"),
    path("policy/", policies.PolicyPage.as_view(), name="policy"),
    path("policy/set/", policies.SetPolicyPage.as_view(), name="policy-set"),
    path(f"{_KEY}policy/", policies.KeyPolicyPage.as_view(), name="key-policy"),
    path(f"{_KEY}policy/set/", policies.SetKeyPolicyPage.as_view(), name="key-policy-set"),
    path(f"{_KEY}grant/", grants.GrantPage.as_view(), name="grant"),
    path(f"{_KEY}grants/<uuid:grant>/end/", grants.EndPage.as_view(), name="grant-end"),
    path("consumers/<slug:consumer>/end/", grants.EndConsumerPage.as_view(), name="consumer-end"),
]
