//! Users' SCRAM credentials shown and changed.

use std::collections::BTreeMap;

use ottla_protocol::messages::{
    AlterUserScramCredentialsRequest, DescribeUserScramCredentialsRequest,
    alter_user_scram_credentials_request, describe_user_scram_credentials_request,
};
use ottla_protocol::{ErrorCode, KafkaString};

use super::Admin;
use crate::Error;
use crate::core::Destination;
use crate::core::admin::quotas::{ScramChange, ScramMechanism};

impl Admin {
    /// The mechanisms that users have credentials for, with their iterations; of all users if none
    /// are named. A user without credentials is left out.
    pub async fn describe_user_scram_credentials(
        &self,
        users: Option<&[KafkaString]>,
    ) -> Result<BTreeMap<KafkaString, Vec<(ScramMechanism, i32)>>, Error> {
        let users = users.map(|users| {
            let named =
                users
                    .iter()
                    .map(|name| describe_user_scram_credentials_request::UserName {
                        name: name.clone(),
                        ..describe_user_scram_credentials_request::UserName::default()
                    });
            named.collect()
        });
        let request = DescribeUserScramCredentialsRequest {
            users,
            ..DescribeUserScramCredentialsRequest::default()
        };
        let response = self.request(self.any(), request).await?;
        Error::check(response.error_code, response.error_message.as_deref())?;
        let mut described = BTreeMap::new();
        for result in response.results {
            if ErrorCode(result.error_code) == ErrorCode::RESOURCE_NOT_FOUND {
                continue;
            }
            Error::check(result.error_code, result.error_message.as_deref())?;
            let infos = result.credential_infos.into_iter().filter_map(|info| {
                let known = ScramMechanism::ALL.into_iter();
                let mechanism = known
                    .into_iter()
                    .find(|known| known.code() == info.mechanism)?;
                Some((mechanism, info.iterations))
            });
            described.insert(result.user, infos.collect());
        }
        Ok(described)
    }

    /// Changes users' credentials; gives each user's outcome.
    pub async fn alter_user_scram_credentials(
        &self,
        changes: &[ScramChange],
    ) -> Result<BTreeMap<KafkaString, Result<(), Error>>, Error> {
        let mut request = AlterUserScramCredentialsRequest::default();
        for change in changes {
            match change {
                ScramChange::Upsert {
                    user,
                    mechanism,
                    iterations,
                    salt,
                    salted_password,
                } => request.upsertions.push(
                    alter_user_scram_credentials_request::ScramCredentialUpsertion {
                        name: user.clone(),
                        mechanism: mechanism.code(),
                        iterations: *iterations,
                        salt: salt.clone(),
                        salted_password: salted_password.clone(),
                        ..alter_user_scram_credentials_request::ScramCredentialUpsertion::default()
                    },
                ),
                ScramChange::Delete { user, mechanism } => request.deletions.push(
                    alter_user_scram_credentials_request::ScramCredentialDeletion {
                        name: user.clone(),
                        mechanism: mechanism.code(),
                        ..alter_user_scram_credentials_request::ScramCredentialDeletion::default()
                    },
                ),
            }
        }
        self.until_right(async || {
            let response = self
                .request(Destination::Controller, request.clone())
                .await?;
            let mut outcomes = BTreeMap::new();
            for result in response.results {
                let checked = Error::check(result.error_code, result.error_message.as_deref());
                if ErrorCode(result.error_code) == ErrorCode::NOT_CONTROLLER {
                    checked.clone()?;
                }
                outcomes.insert(result.user, checked);
            }
            Ok(outcomes)
        })
        .await
    }
}
