//! Delegation tokens made, renewed, expired and described.

use bytes::Bytes;
use ottla_protocol::messages::{
    CreateDelegationTokenRequest, DescribeDelegationTokenRequest, ExpireDelegationTokenRequest,
    RenewDelegationTokenRequest, create_delegation_token_request,
    describe_delegation_token_request, describe_delegation_token_response,
};

use super::Admin;
use crate::Error;
use crate::core::Destination;
use crate::core::admin::tokens::{DelegationToken, Principal};

impl Admin {
    /// Makes a token, for someone else if an owner is given; -1 leaves its lifetime in milliseconds
    /// to the cluster.
    pub async fn create_delegation_token(
        &self,
        owner: Option<&Principal>,
        renewers: &[Principal],
        max_lifetime_ms: i64,
    ) -> Result<DelegationToken, Error> {
        let wanted =
            renewers.iter().map(
                |renewer| create_delegation_token_request::CreatableRenewers {
                    principal_type: renewer.principal_type.clone(),
                    principal_name: renewer.name.clone(),
                    ..create_delegation_token_request::CreatableRenewers::default()
                },
            );
        let request = CreateDelegationTokenRequest {
            owner_principal_type: owner.map(|owner| owner.principal_type.clone()),
            owner_principal_name: owner.map(|owner| owner.name.clone()),
            renewers: wanted.collect(),
            max_lifetime_ms,
            ..CreateDelegationTokenRequest::default()
        };
        let response = self.request(Destination::Any, request).await?;
        Error::check(response.error_code, None)?;
        Ok(DelegationToken {
            token_id: response.token_id,
            hmac: response.hmac,
            owner: Principal {
                principal_type: response.principal_type,
                name: response.principal_name,
            },
            requester: Principal {
                principal_type: response.token_requester_principal_type,
                name: response.token_requester_principal_name,
            },
            renewers: renewers.to_vec(),
            issue_timestamp: response.issue_timestamp_ms,
            expiry_timestamp: response.expiry_timestamp_ms,
            max_timestamp: response.max_timestamp_ms,
        })
    }

    /// Makes a token valid for longer, -1 for as long as the cluster's setting says; gives the time
    /// when it expires, in milliseconds since 1970.
    pub async fn renew_delegation_token(&self, hmac: Bytes, period_ms: i64) -> Result<i64, Error> {
        let request = RenewDelegationTokenRequest {
            hmac,
            renew_period_ms: period_ms,
            ..RenewDelegationTokenRequest::default()
        };
        let response = self.request(Destination::Any, request).await?;
        Error::check(response.error_code, None)?;
        Ok(response.expiry_timestamp_ms)
    }

    /// Lets a token expire after so many milliseconds, at once if negative; gives the time when it
    /// does.
    pub async fn expire_delegation_token(&self, hmac: Bytes, period_ms: i64) -> Result<i64, Error> {
        let request = ExpireDelegationTokenRequest {
            hmac,
            expiry_time_period_ms: period_ms,
            ..ExpireDelegationTokenRequest::default()
        };
        let response = self.request(Destination::Any, request).await?;
        Error::check(response.error_code, None)?;
        Ok(response.expiry_timestamp_ms)
    }

    /// The tokens of these owners, or all that the client may see.
    pub async fn describe_delegation_tokens(
        &self,
        owners: Option<&[Principal]>,
    ) -> Result<Vec<DelegationToken>, Error> {
        let owners = owners.map(|owners| {
            let named = owners.iter().map(|owner| {
                describe_delegation_token_request::DescribeDelegationTokenOwner {
                    principal_type: owner.principal_type.clone(),
                    principal_name: owner.name.clone(),
                    ..describe_delegation_token_request::DescribeDelegationTokenOwner::default()
                }
            });
            named.collect()
        });
        let request = DescribeDelegationTokenRequest {
            owners,
            ..DescribeDelegationTokenRequest::default()
        };
        let response = self.request(Destination::Any, request).await?;
        Error::check(response.error_code, None)?;
        Ok(response.tokens.into_iter().map(token).collect())
    }
}

fn token(token: describe_delegation_token_response::DescribedDelegationToken) -> DelegationToken {
    let renewers = token.renewers.into_iter().map(|renewer| Principal {
        principal_type: renewer.principal_type,
        name: renewer.principal_name,
    });
    DelegationToken {
        token_id: token.token_id,
        hmac: token.hmac,
        owner: Principal {
            principal_type: token.principal_type,
            name: token.principal_name,
        },
        requester: Principal {
            principal_type: token.token_requester_principal_type,
            name: token.token_requester_principal_name,
        },
        renewers: renewers.collect(),
        issue_timestamp: token.issue_timestamp,
        expiry_timestamp: token.expiry_timestamp,
        max_timestamp: token.max_timestamp,
    }
}
