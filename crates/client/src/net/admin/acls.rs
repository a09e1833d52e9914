//! ACLs listed, added and removed.

use ottla_protocol::messages::{
    CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest, create_acls_request,
    delete_acls_request,
};

use super::Admin;
use crate::Error;
use crate::core::admin::acls::{
    AccessControlEntry, AclBinding, AclFilter, AclOperation, PatternType, PermissionType,
    ResourcePattern, ResourceType,
};

impl Admin {
    /// The ACLs that a filter matches.
    pub async fn describe_acls(&self, filter: &AclFilter) -> Result<Vec<AclBinding>, Error> {
        let request = DescribeAclsRequest {
            resource_type_filter: filter.resource_type.0,
            resource_name_filter: filter.name.clone(),
            pattern_type_filter: filter.pattern_type.0,
            principal_filter: filter.principal.clone(),
            host_filter: filter.host.clone(),
            operation: filter.operation.0,
            permission_type: filter.permission_type.0,
            ..DescribeAclsRequest::default()
        };
        let response = self.request(self.any(), request).await?;
        Error::check(response.error_code, response.error_message.as_deref())?;
        let mut bindings = Vec::new();
        for resource in response.resources {
            let pattern = ResourcePattern {
                resource_type: ResourceType(resource.resource_type),
                name: resource.resource_name,
                pattern_type: PatternType(resource.pattern_type),
            };
            bindings.extend(resource.acls.into_iter().map(|acl| AclBinding {
                pattern: pattern.clone(),
                entry: AccessControlEntry {
                    principal: acl.principal,
                    host: acl.host,
                    operation: AclOperation(acl.operation),
                    permission_type: PermissionType(acl.permission_type),
                },
            }));
        }
        Ok(bindings)
    }

    /// Adds ACLs; gives each one's outcome in the order given.
    pub async fn create_acls(
        &self,
        bindings: &[AclBinding],
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let creations = bindings
            .iter()
            .map(|binding| create_acls_request::AclCreation {
                resource_type: binding.pattern.resource_type.0,
                resource_name: binding.pattern.name.clone(),
                resource_pattern_type: binding.pattern.pattern_type.0,
                principal: binding.entry.principal.clone(),
                host: binding.entry.host.clone(),
                operation: binding.entry.operation.0,
                permission_type: binding.entry.permission_type.0,
                ..create_acls_request::AclCreation::default()
            });
        let request = CreateAclsRequest {
            creations: creations.collect(),
            ..CreateAclsRequest::default()
        };
        let response = self.request(self.any(), request).await?;
        let results = response.results.iter();
        Ok(results
            .map(|result| Error::check(result.error_code, result.error_message.as_deref()))
            .collect())
    }

    /// Removes the ACLs that filters match; gives those that are gone.
    pub async fn delete_acls(&self, filters: &[AclFilter]) -> Result<Vec<AclBinding>, Error> {
        let filters = filters
            .iter()
            .map(|filter| delete_acls_request::DeleteAclsFilter {
                resource_type_filter: filter.resource_type.0,
                resource_name_filter: filter.name.clone(),
                pattern_type_filter: filter.pattern_type.0,
                principal_filter: filter.principal.clone(),
                host_filter: filter.host.clone(),
                operation: filter.operation.0,
                permission_type: filter.permission_type.0,
                ..delete_acls_request::DeleteAclsFilter::default()
            });
        let request = DeleteAclsRequest {
            filters: filters.collect(),
            ..DeleteAclsRequest::default()
        };
        let response = self.request(self.any(), request).await?;
        let mut deleted = Vec::new();
        for result in response.filter_results {
            Error::check(result.error_code, result.error_message.as_deref())?;
            for acl in result.matching_acls {
                Error::check(acl.error_code, acl.error_message.as_deref())?;
                deleted.push(AclBinding {
                    pattern: ResourcePattern {
                        resource_type: ResourceType(acl.resource_type),
                        name: acl.resource_name,
                        pattern_type: PatternType(acl.pattern_type),
                    },
                    entry: AccessControlEntry {
                        principal: acl.principal,
                        host: acl.host,
                        operation: AclOperation(acl.operation),
                        permission_type: PermissionType(acl.permission_type),
                    },
                });
            }
        }
        Ok(deleted)
    }
}
